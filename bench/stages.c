// SPDX-License-Identifier: ISC
//
// stages.c - where the cycles of a packet go: wrappers around the functions of the path.
//
// Runs on: worker.

#include "bench/stages.h"

#include "dataplane/jitter.h"
#include "dataplane/recut.h"
#include "dataplane/red.h"
#include "dataplane/rtp.h"
#include "dataplane/transport.h"
#include "dataplane/worker.h"

bool stages_on, stages_no_opus;
void (*stages_on_cell)(void);

static struct {
	enum stage now;
	uint64_t since, cycles[STAGE_COUNT], entries[STAGE_COUNT], children[STAGE_COUNT];
	double inner, outer; // what one crossing costs in the stage and in its caller
} stages;

const char *stage_name(enum stage stage)
{
	static const char *const names[] = {"outside", "mbuf alloc", "rx burst", "eth, ip4, udp, classify, free", "lookup", "srtp",
		"rtp header", "source", "red", "jitter", "opus", "recut", "pcm ring", "timers, cells"};
	return names[stage];
}

enum stage stage_enter(enum stage stage)
{
	uint64_t now = bench_now();
	enum stage before = stages.now;
	stages.cycles[before] += now - stages.since;
	stages.children[before]++;
	stages.entries[stage]++;
	stages.now = stage;
	stages.since = now;
	return before;
}

void stage_leave(enum stage back_to)
{
	uint64_t now = bench_now();
	stages.cycles[stages.now] += now - stages.since;
	stages.now = back_to;
	stages.since = now;
}

void stages_reset(void)
{
	memset(stages.cycles, 0, sizeof(stages.cycles));
	memset(stages.entries, 0, sizeof(stages.entries));
	memset(stages.children, 0, sizeof(stages.children));
	stages.now = STAGE_OUTSIDE;
	stages.since = bench_now();
}

void stages_calibrate(void)
{
	enum { TURNS = 10000 };
	double inner = 1e9, outer = 1e9;
	for (unsigned try = 0; try < 20; try++) {
		stages_reset();
		enum stage before = stage_enter(STAGE_SOURCE);
		for (unsigned i = 0; i < TURNS; i++)
			stage_leave(stage_enter(STAGE_RED));
		stage_leave(before);
		inner = MIN_OF(inner, (double)stages.cycles[STAGE_RED] / TURNS);
		outer = MIN_OF(outer, (double)stages.cycles[STAGE_SOURCE] / TURNS);
	}
	stages.inner = inner;
	stages.outer = outer;
	stages_reset();
}

double stage_cycles(enum stage stage)
{
	double own = (double)stages.cycles[stage] - (double)stages.entries[stage] * stages.inner -
		     (double)stages.children[stage] * stages.outer;
	return MAX_OF(own, 0.0);
}

// ---- the wrappers

#define WRAP(where, type, name, parameters, ...)                                                                       \
	type __real_##name parameters;                                                                                 \
	type __wrap_##name parameters;                                                                                 \
	ROLE_UNCHECKED type __wrap_##name parameters                                                                   \
	{                                                                                                              \
		if (!stages_on)                                                                                        \
			return __real_##name(__VA_ARGS__);                                                             \
		enum stage back_to = stage_enter(where);                                                               \
		type result = __real_##name(__VA_ARGS__);                                                              \
		stage_leave(back_to);                                                                                  \
		return result;                                                                                         \
	}
#define WRAP_VOID(where, name, parameters, ...)                                                                        \
	void __real_##name parameters;                                                                                 \
	void __wrap_##name parameters;                                                                                 \
	ROLE_UNCHECKED void __wrap_##name parameters                                                                   \
	{                                                                                                              \
		if (!stages_on) {                                                                                      \
			__real_##name(__VA_ARGS__);                                                                    \
			return;                                                                                        \
		}                                                                                                      \
		enum stage back_to = stage_enter(where);                                                               \
		__real_##name(__VA_ARGS__);                                                                            \
		stage_leave(back_to);                                                                                  \
	}

typedef struct transport *transport_pointer;
typedef const struct jitter_packet *jitter_packet_pointer;
typedef enum drop drop_reason;

WRAP(STAGE_LOOKUP, transport_pointer, transport_lookup, (unsigned port, uint16_t udp_port), port, udp_port)
WRAP_VOID(STAGE_SRTP, srtp_unprotect_burst, (struct srtp_mgr * mgr, struct srtp_job *jobs, unsigned count), mgr, jobs, count)
WRAP(STAGE_RTP, drop_reason, rtp_parse, (const uint8_t *packet, size_t bytes, struct rtp_header *ret_header), packet, bytes,
	ret_header)
WRAP(STAGE_SOURCE, drop_reason, source_rtp_input, (struct source * source, const struct source_rtp *packet, bool *ret_keep), source, packet,
	ret_keep)
WRAP(STAGE_RED, drop_reason, red_parse,
	(const uint8_t *payload, size_t bytes, struct red_block *ret_blocks, unsigned *ret_count), payload, bytes, ret_blocks,
	ret_count)
WRAP(STAGE_JITTER, drop_reason, jitter_put,
	(struct jitter * jitter, uint16_t seq, uint32_t timestamp, const uint8_t *payload, size_t bytes, bool repaired,
		uint64_t now_ns, bool *ret_restarted),
	jitter, seq, timestamp, payload, bytes, repaired, now_ns, ret_restarted)
WRAP(STAGE_JITTER, jitter_packet_pointer, jitter_get, (struct jitter * jitter, uint64_t now_ns, unsigned *ret_lost), jitter,
	now_ns, ret_lost)
WRAP_VOID(STAGE_RECUT, recut_run, (struct recut * recut, struct pcm *pcm, const struct recut_run *run), recut, pcm, run)
void __real_pcm_write_cell(struct pcm *pcm, struct pcm_frame *frame, const int16_t *samples);
void __wrap_pcm_write_cell(struct pcm *pcm, struct pcm_frame *frame, const int16_t *samples);
ROLE_UNCHECKED void __wrap_pcm_write_cell(struct pcm *pcm, struct pcm_frame *frame, const int16_t *samples)
{
	enum stage back_to = stages_on ? stage_enter(STAGE_PCM) : STAGE_OUTSIDE;
	__real_pcm_write_cell(pcm, frame, samples);
	if (stages_on)
		stage_leave(back_to);
	if (stages_on_cell != NULL)
		stages_on_cell();
}
WRAP_VOID(STAGE_TIMER, home_fed, (struct worker * worker, struct home *home), worker, home)

typedef struct OpusDecoder OpusDecoder;
int __real_opus_decode(OpusDecoder *decoder, const unsigned char *data, int32_t bytes, int16_t *pcm, int size, int fec);
int __wrap_opus_decode(OpusDecoder *decoder, const unsigned char *data, int32_t bytes, int16_t *pcm, int size, int fec);
int __wrap_opus_decode(OpusDecoder *decoder, const unsigned char *data, int32_t bytes, int16_t *pcm, int size, int fec)
{
	if (stages_no_opus)
		return PCM_CELL_SAMPLES;
	if (!stages_on)
		return __real_opus_decode(decoder, data, bytes, pcm, size, fec);
	enum stage back_to = stage_enter(STAGE_OPUS);
	int samples = __real_opus_decode(decoder, data, bytes, pcm, size, fec);
	stage_leave(back_to);
	return samples;
}
