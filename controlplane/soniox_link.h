// SPDX-License-Identifier: ISC
//
// soniox_link.h - one connection to Soniox: start message, audio, control messages, answers. One session, never used again.
//
// Runs on: control.
#pragma once

#include "controlplane/soniox_policy.h"
#include "controlplane/soniox_replay.h"
#include "controlplane/soniox_service.h"

#define SONIOX_MESSAGE_MS 100     // of audio in a message
#define SONIOX_MESSAGE_MAX_MS 120
#define SONIOX_SPEED 4            // a backlog goes out at most so many times faster than real time
#define SONIOX_BURST_MS 1000      // of audio that may go out at once
#define SONIOX_KEEPALIVE_MS 8000  // without audio; Soniox cuts after 20 s
#define SONIOX_OGG_STEP 40        // Opus comes in multiples of 2.5 ms
#define SONIOX_QUEUED_MAX 65536   // bytes the network has not taken: 2 s of PCM. Then audio waits in the replay

struct soniox_link;
struct ogg_opus;

struct soniox_link_events {
	void (*open)(struct soniox_link *link);
	void (*answer)(struct soniox_link *link, const struct soniox_answer *answer); // not an error
	// Refused, lost, closed or an error frame. The connection is closed already. May be connected again.
	void (*lost)(struct soniox_link *link, const struct soniox_policy *policy, const char *text, const char *request_id);
};

struct soniox_link {
	struct soniox_service *service;
	const struct soniox_link_events *events;
	void *owner;
	struct ws *ws; // NULL: not connected
	struct soniox_ticket ticket;
	bool open, ended; // ended: no more audio was announced
	enum soniox_audio audio; // as the start message said
	uint64_t base, sent; // positions: of its first sample, behind its last
	uint64_t opened_ns, said_ns, due_ns; // said: last message of ours that Soniox counts
	uint64_t finalized_ns;
	uint64_t final_ms, total_ms; // progress, of this connection
	struct ogg_opus *ogg;
};

int soniox_link_connect(struct soniox_link *link, struct err *err) RUNS_ON(control_role);
// After open: the start message, then audio from position base on, of the kind that is there. With Opus base moves back to the
// begin of its packet.
int soniox_link_start(struct soniox_link *link, const struct soniox_options *options, const struct soniox_replay *replay,
	uint64_t base, uint64_t now_ns) RUNS_ON(control_role);
// The next audio is of the other kind: it needs a connection of its own.
bool soniox_link_at_change(const struct soniox_link *link, const struct soniox_replay *replay);
// Sends what pace and network allow; flush: also less than a message's worth. Returns messages sent, or a negative errno:
// -EOVERFLOW: what comes next is not in the replay any more.
int soniox_link_send(struct soniox_link *link, const struct soniox_replay *replay, bool flush, uint64_t now_ns)
	RUNS_ON(control_role);
void soniox_link_keepalive(struct soniox_link *link, uint64_t now_ns) RUNS_ON(control_role); // when it is time
void soniox_link_finalize(struct soniox_link *link, uint64_t now_ns) RUNS_ON(control_role);
void soniox_link_end(struct soniox_link *link, uint64_t now_ns) RUNS_ON(control_role); // no more audio; answers still come
void soniox_link_close(struct soniox_link *link) RUNS_ON(control_role);
