// SPDX-License-Identifier: ISC
//
// soniox_stream.h - one user's voice to Soniox and the words back, over as many connections as it takes.
//
// Belongs to the slot: legs come and go beneath it. It takes frames off the slot's ring into its replay, opens a connection when
// there is something to say, sends in real time, and when a connection is lost begins the next one with everything that was not
// final. It knows nothing of timers: soniox_stream_run is called when it asked to be, and on events.
//
// Runs on: control.
#pragma once

#include "controlplane/soniox_clock.h"
#include "controlplane/soniox_link.h"
#include "controlplane/transcript.h"
#include "dataplane/pcm.h"

enum soniox_state {
	SONIOX_IDLE,       // nothing to say, no connection, no cost
	SONIOX_QUEUED,     // waits for a place or a start
	SONIOX_BACKOFF,    // waits before the next attempt
	SONIOX_CONNECTING,
	SONIOX_LIVE,
	SONIOX_FINISHING,  // all is sent and said to be; the last words come
	SONIOX_STOPPED,    // refused for good: see the error
	SONIOX_ENDED,
};

struct soniox_stream;

struct soniox_view {
	bool exists;
	enum soniox_state state;
	uint64_t since_ns; // in this state
	uint64_t down_since_ns; // Soniox has not answered since, over all attempts; 0: it does, or need not
	enum soniox_health health; // while LIVE
	uint64_t health_since_ns;
	unsigned queue_position; // 1: next
	struct soniox_clock clock;
	uint64_t connections, reconnects, rotations;
	uint64_t sent_ms, final_ms, total_ms, backlog_ms; // of the time line; backlog: came and was not sent yet
	uint64_t lost_ms;     // never sent: an outage longer than the replay
	uint64_t uncertain_ms; // sent, never final, and no more to be had for the next connection
	uint64_t replayed_ms; // sent again
	struct transcript_stats transcript;
	uint64_t epoch;
	char error[256], request_id[64]; // of the last loss
	int64_t error_at_ms;
};

// options are copied; the rings get references. opus: the track's packets (source.h), NULL with audio: pcm. Audio counts from now on.
struct soniox_stream *soniox_stream_create(struct soniox_service *service, const char *user_id, struct pcm *pcm,
	struct pcm *opus, const struct soniox_options *options, struct err *err) RUNS_ON(control_role);
// Closes without ceremony; listeners of the transcript hear the end.
void soniox_stream_free(struct soniox_stream *stream) RUNS_ON(control_role); // takes NULL
// What is in the ring is taken out of it (it may be wiped afterwards), sent, and the last words awaited, within limit_ms.
// Then the state is ENDED.
void soniox_stream_end(struct soniox_stream *stream, uint32_t limit_ms) RUNS_ON(control_role);
// Does what is due. Returns when it wants to run again.
uint64_t soniox_stream_run(struct soniox_stream *stream) RUNS_ON(control_role);
void soniox_stream_admitted(struct soniox_ticket *ticket) RUNS_ON(control_role); // its turn has come
// Everything said so far becomes final soon. -EAGAIN: too soon after the last, or not connected.
int soniox_stream_finalize(struct soniox_stream *stream) RUNS_ON(control_role);
// From the next connection on, which is opened beside the old one now. Wakes as below. -ENOMEM.
int soniox_stream_options(struct soniox_stream *stream, const struct soniox_options *options) RUNS_ON(control_role);
void soniox_stream_retry(struct soniox_stream *stream) RUNS_ON(control_role); // wakes a STOPPED stream, no other
struct transcript *soniox_stream_transcript(struct soniox_stream *stream);
enum soniox_state soniox_stream_state(const struct soniox_stream *stream);
void soniox_stream_view(const struct soniox_stream *stream, struct soniox_view *ret_view) RUNS_ON(control_role);
const char *soniox_state_word(enum soniox_state state);
// What is true of the stream in one sentence, for people.
const char *soniox_view_sentence(const struct soniox_view *view, char *ret_text, size_t size);
