// SPDX-License-Identifier: ISC
//
// data_bench.c - the data way per frame: DTLS record, SCTP and DataPacket as the worker does them in place, beside its bare parts
// over as many users, OpenSSL with usrsctp on the same frames, and what a user costs in memory.
//
// Runs on: worker.
//
// A frame is 20 ms of PCM with its sequence byte in a DataPacket, one lossy message, one SCTP packet, one record. The users
// take turns, so that each finds the caches as the others left them. Every second frame is acknowledged, of half of the users
// in each round: were it all of them in every second one, a median would say what either kind of round costs.

#define NO_COMPAT_IMB_API_053 // its old names are OpenSSL's too
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <usrsctp.h>

#include "bench/bench.h"
#include "bench/data_bare.h"
#include "bench/data_chunk.h"
#include "dataplane/crc32c.h"
#include "dataplane/dcep.h"
#include "dataplane/dtls_record.h"
#include "dataplane/sctp_assoc_state.h"
#include "dataplane/srtp_context.h"
#include "dataplane/userpacket.h"
#include "tests/support/dtls_peer.h"

#define ROOM DATA_BARE_ROOM
#define BURST DATA_BARE_BURST
#define AHEAD 5 // as in ingress.c
#define FRAMES_PER_S 50
#define JUDGED 1000u // users
#define RUNS 5
#define RATIO_TARGET 1.5 // the way against the sum of its bare parts
#define RATIO_LIMIT 1.5  // where the short form fails: a regression, not noise

static struct srtp_mgr *mgr;
static uint8_t frame[ROOM]; // SCTP packet with one DATA chunk; tag, TSN and sum are filled in
static size_t frame_bytes;
static uint8_t sealed[BURST][ROOM];
static size_t sealed_bytes[BURST];
static uint64_t heard; // payload bytes, so that nothing is optimised away

static void make_frame(void)
{
	size_t pcm_at;
	frame_bytes = data_chunk_put(frame, sctp_packet_begin(frame, 0), &pcm_at);
}

static size_t seal_frame(struct dtls_record *peer, uint32_t tag, uint32_t tsn, uint8_t *room)
{
	put_be32(frame + 4, tag);
	put_be32(frame + SCTP_HEADER_BYTES + 4, tsn);
	memcpy(room + DTLS_RECORD_HEAD_BYTES, frame, frame_bytes);
	return dtls_record_seal(peer, mgr, DTLS_APPLICATION, room, frame_bytes);
}

// ---- ours

struct user {
	struct dtls_record record;
	struct sctp_rx rx CACHE_ALIGNED;
};

// Who speaks to a user; apart from it, so that making a frame warms nothing of the user's.
struct speaker {
	struct dtls_record record;
	uint32_t tag, next_tsn;
};

static struct user *users_open(unsigned count, struct speaker *speakers)
{
	struct user *users = aligned_alloc(64, count * sizeof(*users));
	for (unsigned i = 0; i < count; i++) {
		struct user *user = &users[i];
		memset(user, 0, sizeof(*user));
		speakers[i] = (struct speaker){.record = {.key_bytes = 16, .next_seq = 1}, .tag = 0x1000 + i, .next_tsn = 1000};
		user->record.key_bytes = 16;
		for (unsigned k = 0; k < 16; k++)
			user->record.remote_key[k] = speakers[i].record.local_key[k] = (uint8_t)(i * 7 + k * 13);
		struct sctp_up up = {true, 0x1000 + i, 0x2000 + i, 1000};
		sctp_rx_start(&user->rx, &up);
		user->rx.unacked = i % SCTP_RX_SACK_EVERY;
		user->rx.channels[0] = DATA_CHUNK_STREAM;
	}
	return users;
}

static void refused(const char *what)
{
	fprintf(stderr, "%s was refused\n", what);
	exit(1);
}

static void read_message(const struct sctp_message *message)
{
	struct userpacket packet;
	if (userpacket_parse(message->data, message->bytes, &packet) != DROP_NONE ||
		packet.identity_bytes != strlen(DATA_CHUNK_IDENTITY) || memcmp(packet.identity, DATA_CHUNK_IDENTITY, packet.identity_bytes) != 0)
		refused("a data packet");
	heard += packet.payload_bytes + packet.payload[0];
}

static void user_input(struct user *user, uint8_t *datagram, size_t bytes, uint64_t now_ns)
{
	struct dtls_plain plain;
	struct sctp_walk walk;
	struct sctp_message message;
	size_t at = 0;
	if (dtls_record_open(&user->record, mgr, datagram, bytes, &at, &plain) != DROP_NONE ||
		sctp_packet_check(plain.data, plain.bytes) != DROP_NONE ||
		sctp_rx_begin(&user->rx, &walk, plain.data, plain.bytes) != SCTP_RX_WALK)
		refused("a frame");
	while (sctp_rx_next(&user->rx, &walk, &message))
		read_message(&message);
	if (sctp_rx_end(&user->rx, &walk, now_ns)) {
		uint8_t room[SCTP_RX_SACK_MAX + DTLS_RECORD_EXPANSION];
		size_t sack = sctp_rx_sack(&user->rx, room + DTLS_RECORD_HEAD_BYTES, SCTP_RWND_BYTES);
		bench_keep(room + dtls_record_seal(&user->record, mgr, DTLS_APPLICATION, room, sack));
	}
}

// Asked for in ingress.c's two steps.
static void prefetch_association(const struct user *user)
{
	__builtin_prefetch(&user->rx);
	__builtin_prefetch((const uint8_t *)&user->rx + CACHE_LINE_BYTES);
}

static void prefetch_record(const struct user *user)
{
	dtls_record_prefetch(&user->record, mgr, sctp_rx_sack_is_next(&user->rx));
}

static void burst_input(struct user *users, unsigned count, unsigned first)
{
	for (unsigned i = 0; i < BURST; i++)
		prefetch_association(&users[(first + i) % count]);
	for (unsigned i = 0; i < AHEAD; i++)
		prefetch_record(&users[(first + i) % count]);
	for (unsigned i = 0; i < BURST; i++) {
		if (i + AHEAD < BURST)
			prefetch_record(&users[(first + i + AHEAD) % count]);
		user_input(&users[(first + i) % count], sealed[i], sealed_bytes[i], first);
	}
}

static void burst_make(struct speaker *speakers, unsigned count, unsigned first)
{
	for (unsigned i = 0; i < BURST; i++) {
		struct speaker *speaker = &speakers[(first + i) % count];
		sealed_bytes[i] = seal_frame(&speaker->record, speaker->tag, speaker->next_tsn++, sealed[i]);
	}
}

static double per_frame(struct bench_series *bursts)
{
	double cycles = bench_percentile(bursts, 50) / BURST;
	bench_free(bursts);
	return cycles;
}

static double measure_ours(unsigned count, unsigned frames)
{
	struct speaker *speakers = aligned_alloc(CACHE_LINE_BYTES, count * sizeof(*speakers));
	struct user *users = users_open(count, speakers);
	struct bench_series bursts = {0};
	for (unsigned done = 0; done < frames + 2 * count; done += BURST) {
		burst_make(speakers, count, done);
		uint64_t began = bench_now();
		burst_input(users, count, done);
		uint64_t took = bench_now() - began;
		if (done >= 2 * count)
			bench_add(&bursts, took);
	}
	if (users[0].rx.cum_tsn != speakers[0].next_tsn - 1)
		refused("an earlier frame");
	free(users);
	free(speakers);
	return per_frame(&bursts);
}

// ---- the bare parts, on records of the same speakers

struct ratio {
	double ours, sum, parts[DATA_BARE_COUNT];
};

static void measure_bare(unsigned count, unsigned frames, struct ratio *ret)
{
	struct speaker *speakers = aligned_alloc(CACHE_LINE_BYTES, count * sizeof(*speakers));
	struct user *users = users_open(count, speakers); // for the speakers' keys
	struct bench_series parts[DATA_BARE_COUNT] = {{0}};
	free(users);
	data_bare_begin(mgr, count);
	for (unsigned i = 0; i < count; i++)
		data_bare_key(i, speakers[i].record.local_key);
	for (unsigned done = 0; done < frames + 2 * count; done += BURST) {
		burst_make(speakers, count, done);
		for (unsigned part = 0; part < DATA_BARE_COUNT; part++) {
			uint64_t cycles = data_bare_burst(part, done, sealed, frame_bytes);
			if (done >= 2 * count)
				bench_add(&parts[part], cycles);
		}
	}
	data_bare_end();
	free(speakers);
	for (unsigned part = 0; part < DATA_BARE_COUNT; part++) {
		ret->parts[part] = per_frame(&parts[part]);
		ret->sum += data_bare_counts(part) ? ret->parts[part] : 0;
	}
}

static int by_ratio(const void *a, const void *b)
{
	const struct ratio *x = a, *y = b;
	return x->ours / x->sum < y->ours / y->sum ? -1 : x->ours / x->sum > y->ours / y->sum;
}

// The run in the middle is shown. What is judged is the least that each side ever cost: who disturbs makes everything dearer.
static void judge(unsigned frames)
{
	struct ratio runs[RUNS] = {{0}};
	double ours = INFINITY, sum = INFINITY;
	for (unsigned i = 0; i < RUNS; i++) {
		runs[i].ours = measure_ours(JUDGED, frames);
		measure_bare(JUDGED, frames, &runs[i]);
		ours = MIN_OF(ours, runs[i].ours);
		sum = MIN_OF(sum, runs[i].sum);
	}
	qsort(runs, RUNS, sizeof(runs[0]), by_ratio);
	const struct ratio *middle = &runs[RUNS / 2];
	unsigned table = bench_table("1,000 users and the bare parts, each user's keys expanded once (the run in the middle of five)",
		"part|cycles|us");
	for (unsigned part = 0; part < DATA_BARE_COUNT; part++)
		bench_row(table, data_bare_name(part), (double[]){middle->parts[part], bench_ns(middle->parts[part]) / 1000}, 2);
	bench_row(table, "sum of the bare parts", (double[]){middle->sum, bench_ns(middle->sum) / 1000}, 2);
	bench_row(table, "relay", (double[]){middle->ours, bench_ns(middle->ours) / 1000}, 2);
	bench_note("The data way against its bare parts, %d runs: %.2f to %.2f.", RUNS,
		runs[0].ours / runs[0].sum, runs[RUNS - 1].ours / runs[RUNS - 1].sum);
	bench_target("data way at 1,000 users against its bare parts", middle->ours / middle->sum, true, RATIO_TARGET);
	bench_check("least data way at 1,000 users against least bare parts of the runs, limit", ours / sum, true, RATIO_LIMIT);
}

// ---- OpenSSL and usrsctp

struct reference {
	struct dtls_peer ssl;
	struct socket *socket;
	struct dtls_record *peer;
	struct sctp_assoc *assoc; // sets it up, then gone
	uint32_t tag, next_tsn;
	bool to_assoc, up;
	unsigned queued;
	uint8_t queue[8][SCTP_PACKET_MAX];
	size_t queue_bytes[8];
};

static struct reference *references;

static void enqueue(struct reference *r, const void *packet, size_t bytes)
{
	if (r->queued == ARRAY_SIZE(r->queue))
		refused("a packet of the set-up");
	memcpy(r->queue[r->queued], packet, bytes);
	r->queue_bytes[r->queued++] = bytes;
}

static int usrsctp_output(void *address, void *data, size_t bytes, uint8_t tos, uint8_t df)
{
	(void)tos;
	(void)df;
	struct reference *r = &references[(uintptr_t)address - 1];
	uint8_t *packet = data;
	memset(packet + 8, 0, 4);
	uint32_t crc = crc32c(packet, bytes);
	memcpy(packet + 8, &crc, 4);
	if (r->to_assoc)
		enqueue(r, packet, bytes);
	else if (SSL_write(r->ssl.ssl, packet, (int)bytes) <= 0)
		refused("a SACK");
	r->ssl.sent_count = 0;
	return 0;
}

static int usrsctp_input_cb(struct socket *socket, union sctp_sockstore from, void *data, size_t bytes,
	struct sctp_rcvinfo info, int flags, void *arg)
{
	(void)socket;
	(void)from;
	(void)info;
	(void)arg;
	struct sctp_message message = {.data = data, .bytes = bytes};
	if (data != NULL && (flags & MSG_NOTIFICATION) == 0)
		read_message(&message);
	free(data);
	return 1;
}

static void assoc_send(void *arg, const uint8_t *packet, size_t bytes)
{
	struct reference *r = arg;
	usrsctp_conninput((void *)(uintptr_t)(r - references + 1), packet, bytes, 0);
}

static void assoc_discard(void *arg, const uint8_t *packet, size_t bytes)
{
	(void)arg;
	(void)packet;
	(void)bytes;
}

static void assoc_up_discard(void *arg, const struct sctp_up *up)
{
	(void)arg;
	(void)up;
}

static void assoc_up(void *arg, const struct sctp_up *up)
{
	struct reference *r = arg;
	r->up = up->up;
	r->tag = up->peer_tag;
}

static void assoc_message(void *arg, const struct sctp_message *message)
{
	(void)arg;
	(void)message;
}

static void assoc_state(void *arg, enum sctp_state state)
{
	(void)arg;
	(void)state;
}

static void trace_cb(void *arg, const uint8_t *datagram, size_t bytes)
{
	dtls_trace_sent(arg, datagram, bytes);
}

static void reference_dtls(struct reference *r)
{
	static struct dtls_peer client;
	struct dtls_trace trace = {0};
	struct err err;
	dtls_peer_open(&r->ssl, false, "ECDHE-ECDSA-AES128-GCM-SHA256");
	dtls_peer_open(&client, true, "ECDHE-ECDSA-AES128-GCM-SHA256");
	client.wrote = trace_cb;
	client.arg = &trace;
	if (!dtls_peer_connect(&client, &r->ssl, NULL))
		refused("a handshake");
	r->peer = dtls_record_create(client.ssl, true, &trace, &err);
	dtls_peer_close(&client);
	r->ssl.sent_count = 0;
}

static void reference_sctp(struct reference *r)
{
	void *id = (void *)(uintptr_t)(r - references + 1);
	struct sockaddr_conn address = {.sconn_family = AF_CONN, .sconn_port = htons(SCTP_DATA_PORT), .sconn_addr = id};
	const struct sctp_initmsg init = {.sinit_num_ostreams = 16, .sinit_max_instreams = 16};
	usrsctp_register_address(id);
	r->socket = usrsctp_socket(AF_CONN, SOCK_STREAM, IPPROTO_SCTP, usrsctp_input_cb, NULL, 0, id);
	usrsctp_set_non_blocking(r->socket, 1);
	usrsctp_setsockopt(r->socket, IPPROTO_SCTP, SCTP_INITMSG, &init, sizeof(init));
	usrsctp_bind(r->socket, (struct sockaddr *)&address, sizeof(address));
	r->to_assoc = true;
	usrsctp_connect(r->socket, (struct sockaddr *)&address, sizeof(address));
	struct sctp_callbacks callbacks = {assoc_send, assoc_up, assoc_message, assoc_state, r};
	r->assoc = sctp_assoc_create(&callbacks, 1, NULL);
	for (unsigned i = 0; i < r->queued; i++) {
		bool again;
		sctp_assoc_input(r->assoc, r->queue[i], r->queue_bytes[i], false, 0, 1, &again);
	}
	if (!r->up)
		refused("an association");
	r->to_assoc = false;
}

static size_t allocated(void)
{
	struct mallinfo2 info = mallinfo2();
	return info.uordblks + info.hblkhd;
}

static double measure_reference(unsigned count, unsigned frames, double *ret_ssl, double *ret_sctp)
{
	references = calloc(count, sizeof(*references));
	size_t sctp = 0;
	for (unsigned i = 0; i < count; i++) {
		reference_dtls(&references[i]);
		size_t before = allocated();
		reference_sctp(&references[i]);
		references[i].next_tsn = references[i].assoc->local_tsn;
		sctp_assoc_destroy(references[i].assoc);
		sctp += allocated() - before;
	}
	*ret_sctp = (double)sctp / count;
	struct bench_series bursts = {0};
	for (unsigned done = 0; done < frames + 2 * count; done += BURST) {
		for (unsigned i = 0; i < BURST; i++) {
			struct reference *r = &references[(done + i) % count];
			sealed_bytes[i] = seal_frame(r->peer, r->tag, r->next_tsn++, sealed[i]);
		}
		uint64_t began = bench_now();
		for (unsigned i = 0; i < BURST; i++) {
			struct reference *r = &references[(done + i) % count];
			uint8_t plain[ROOM];
			int bytes = dtls_peer_read(&r->ssl, sealed[i], sealed_bytes[i], plain, sizeof(plain));
			if (bytes <= 0)
				refused("a record");
			usrsctp_conninput((void *)(uintptr_t)(r - references + 1), plain, (size_t)bytes, 0);
		}
		uint64_t took = bench_now() - began;
		if (done >= 2 * count)
			bench_add(&bursts, took);
	}
	size_t before = allocated();
	for (unsigned i = 0; i < count; i++) {
		SSL_free(references[i].ssl.ssl);
		references[i].ssl.ssl = NULL;
	}
	*ret_ssl = (double)(before - allocated()) / count;
	return per_frame(&bursts);
}

static void usrsctp_begin(void)
{
	usrsctp_init_nothreads(0, usrsctp_output, NULL);
	usrsctp_enable_crc32c_offload();
	usrsctp_sysctl_set_sctp_pr_enable(0);
	usrsctp_sysctl_set_sctp_ecn_enable(0);
	usrsctp_sysctl_set_sctp_blackhole(2);
}

// What a user costs us: the worker's part, and what assoc allocates.
static void memory_rows(unsigned table, double ssl, double sctp)
{
	enum { COUNT = 1000 };
	struct sctp_assoc *assocs[COUNT];
	struct sctp_callbacks callbacks = {assoc_discard, assoc_up_discard, assoc_message, assoc_state, NULL};
	size_t before = allocated();
	for (unsigned i = 0; i < COUNT; i++)
		assocs[i] = sctp_assoc_create(&callbacks, 1, NULL);
	double assoc = (double)(allocated() - before) / COUNT;
	for (unsigned i = 0; i < COUNT; i++)
		sctp_assoc_destroy(assocs[i]);
	double keys = 2.0 * DTLS_RECORD_EXPANDED_BYTES, record = sizeof(struct dtls_record) - keys, receiver = sizeof(struct sctp_rx);
	double ours[] = {record, receiver + assoc, record + receiver + assoc, keys};
	double theirs[] = {ssl, sctp, ssl + sctp};
	bench_row(table, "relay", ours, 4);
	bench_row(table, "OpenSSL + usrsctp (16 streams)", theirs, 3);
}

int main(int argc, char **argv)
{
	bench_begin(argc, argv, "data", "The data way: DTLS, SCTP and DataPacket of a 20 ms frame");
	mgr = srtp_mgr_create();
	if (mgr == NULL)
		return 1;
	make_frame();
	unsigned frames = bench_short() ? 60000 : 400000, table = bench_table("A frame (median of bursts)", "path|users|cycles|us|users a core");
	static const unsigned counts[] = {100, 1000, 10000};
	double worst_us = 0, ours_us = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
		double cycles = measure_ours(counts[i], frames), us = bench_ns(cycles) / 1000;
		double values[] = {counts[i], cycles, us, 1e6 / us / FRAMES_PER_S};
		bench_row(table, "relay", values, 4);
		worst_us = MAX_OF(worst_us, us);
		if (counts[i] == JUDGED)
			ours_us = us;
	}
	judge(frames);
	usrsctp_begin();
	double ssl = 0, sctp = 0, reference = measure_reference(bench_short() ? 1000 : 4000, frames / 2, &ssl, &sctp);
	double reference_us = bench_ns(reference) / 1000;
	double values[] = {bench_short() ? 1000 : 4000, reference, reference_us, 1e6 / reference_us / FRAMES_PER_S};
	bench_row(table, "OpenSSL + usrsctp", values, 4);
	memory_rows(bench_table("Memory of a user, bytes allocated", "path|DTLS|SCTP|together|beside it, expanded keys"), ssl, sctp);
	bench_note("The frames of a burst are made before it is measured; a user's state is in the caches as the turns of the others "
		   "leave it. A SACK for every second frame is in it, receiving and sending datagrams are not.");
	bench_target("us a frame, the worst number of users", worst_us, true, 0.6);
	bench_check("cost against OpenSSL + usrsctp at 1,000 users", ours_us / reference_us, true, 0.5);
	if (heard == 0)
		return 1;
	return bench_end();
}
