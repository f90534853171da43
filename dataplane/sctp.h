// SPDX-License-Identifier: ISC
//
// sctp.h - SCTP over DTLS with the LiveKit data channels (DCEP), first version on usrsctp; a faster one can take over
// this header. Every function runs on the assoc thread (sctp_init: init). Contract.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"
#include "dataplane/roles.h"

#define SCTP_PORT 5000
#define SCTP_MESSAGE_MAX 65535

enum sctp_channel { SCTP_CHANNEL_RELIABLE, SCTP_CHANNEL_LOSSY, SCTP_CHANNEL_OTHER };
enum sctp_state { SCTP_STATE_CONNECTING, SCTP_STATE_OPEN, SCTP_STATE_CLOSED };

int sctp_init(struct err *err); // usrsctp_init_nothreads, FORWARD-TSN not announced, CRC32c offload with our fill
void sctp_finish(void);

struct sctp_callbacks {
	// One SCTP packet to put into one DTLS record.
	void (*send)(void *arg, const uint8_t *packet, size_t bytes);
	// One whole message of a channel.
	void (*message)(void *arg, enum sctp_channel channel, const uint8_t *data, size_t bytes);
	// OPEN once both our channels are acknowledged or usable; CLOSED at abort, shutdown, or failure.
	void (*state)(void *arg, enum sctp_state state);
	void *arg;
};

struct sctp;
// Starts the association (both sides connect) and opens `_reliable` and `_lossy` by DCEP when it is up. dtls_client decides
// even or odd stream ids (RFC 8832 section 6).
struct sctp *sctp_create(const struct sctp_callbacks *callbacks, bool dtls_client, struct err *err) RUNS_ON(assoc_role);
void sctp_destroy(struct sctp *sctp) RUNS_ON(assoc_role); // aborts the association; no callback afterwards; takes NULL
enum drop sctp_input(struct sctp *sctp, const uint8_t *packet, size_t bytes) RUNS_ON(assoc_role);
int sctp_send(struct sctp *sctp, enum sctp_channel channel, const uint8_t *data, size_t bytes) RUNS_ON(assoc_role);
// Advance timers of all associations; call every 50..100 ms with the elapsed time.
void sctp_tick(uint32_t elapsed_ms) RUNS_ON(assoc_role);

struct sctp_stats {
	uint64_t packets_in, packets_out, messages_in, messages_out;
};
void sctp_stats(const struct sctp *sctp, struct sctp_stats *ret_stats) RUNS_ON(assoc_role);
