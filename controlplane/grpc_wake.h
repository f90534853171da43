// SPDX-License-Identifier: ISC
//
// grpc_wake.h - wake an app worker that waits in its completion queue, from a packet core or from control.
//
// A waker writes an eventfd; one unpinned pump thread turns that into an empty batch on a call of a lame channel, which
// plain C has in place of an alarm. Packet cores never call gRPC: what it locks and spawns has no place on them.
#pragma once

#include <grpc/grpc.h>

#include "dataplane/pcm.h"

#define GRPC_WAKES_MAX 3 // pcm rings have PCM_WAKERS_MAX places; one is left for other consumers

struct grpc_wake {
	struct pcm_waker waker; // given to pcm rings; its eventfd lives as long as the process
	grpc_channel *channel;
	grpc_call *call;
	void *tag;
};

// wake->waker must be zero or of an earlier start. The tag comes out of the queue at every wake-up.
int grpc_wake_open(struct grpc_wake *wake, grpc_completion_queue *queue, void *tag, struct err *err);
void grpc_wake_close(struct grpc_wake *wake); // after the pump stopped, before the queue shuts down
// Wake the owner if it sleeps. Any thread.
void grpc_wake_up(struct grpc_wake *wake);

int grpc_pump_start(struct grpc_wake **wakes, unsigned count, struct err *err);
void grpc_pump_stop(void); // no wake-up is posted after it returns
