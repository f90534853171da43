// SPDX-License-Identifier: ISC
//
// alloc_test.c - every allocation of the slow paths fails once, and every n-th: an error in words or a loss that is counted,
// never a crash, never a leak.
//
// Runs on: any (the test).

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/alloc_failure.h"

#include "controlplane/config.h"
#include "controlplane/livekit.h"
#include "controlplane/ogg_opus.h"
#include "controlplane/request.h"
#include "controlplane/soniox_stream.h"
#include "controlplane/token.h"
#include "controlplane/transcript_file.h"
#include "dataplane/dtls.h"
#include "dataplane/ice.h"
#include "dataplane/pcm.h"
#include "proto/mentra/livekit_bridge.pb-c.h"
#include "tests/support/sctp_endpoint.h"

#define JWT "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJicmlkZ2UiLCJ2aWRlbyI6eyJyb29tIjoicm9vbSJ9fQ.c2ln"

// An error that was caused by us says so in a sentence; without a failure there is none.
static void expect(int rc, const struct err *err)
{
	if (rc < 0) {
		assert_true(alloc_failed > 0);
		assert_true(err == NULL || strlen(err->text) > 4);
	}
}

// ---- configuration

static void story_config(void)
{
	struct err err = {""};
	struct config *config = config_load("configs/relay.yaml", NULL, &err);
	expect(config == NULL ? -1 : 0, &err);
	if (config != NULL)
		assert_string_equal(config->log.service, "livekit-bridge");
	config_free(config);
}

// ---- messages

static void story_livekit(void)
{
	static uint8_t join[2048], trickle[512];
	static size_t join_bytes, trickle_bytes;
	if (join_bytes == 0) {
		Livekit__SignalResponse message = LIVEKIT__SIGNAL_RESPONSE__INIT;
		Livekit__JoinResponse body = LIVEKIT__JOIN_RESPONSE__INIT;
		Livekit__ParticipantInfo phone = LIVEKIT__PARTICIPANT_INFO__INIT, *others[] = {&phone, &phone, &phone};
		Livekit__TrackInfo track = LIVEKIT__TRACK_INFO__INIT, *tracks[] = {&track, &track};
		track.sid = (char[]){"TR_1"};
		phone.sid = (char[]){"PA_1"};
		phone.n_tracks = 2;
		phone.tracks = tracks;
		body.n_other_participants = 3;
		body.other_participants = others;
		message.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN;
		message.join = &body;
		join_bytes = livekit__signal_response__pack(&message, join);
		Livekit__TrickleRequest candidate = LIVEKIT__TRICKLE_REQUEST__INIT;
		candidate.candidateinit = (char[]){"{\"candidate\":\"candidate:1 1 udp 1 10.0.0.1 7882 typ host\",\"sdpMid\":\"0\"}"};
		message.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRICKLE;
		message.trickle = &candidate;
		trickle_bytes = livekit__signal_response__pack(&message, trickle);
	}
	Livekit__SignalResponse *message = livekit_decode(join, join_bytes);
	expect(message == NULL ? -1 : 0, NULL);
	if (message != NULL)
		assert_int_equal(message->join->n_other_participants, 3);
	livekit_free(message);
	message = livekit_decode(trickle, trickle_bytes);
	struct sdp_candidate candidate;
	if (message != NULL)
		expect(livekit_read_candidate(message->trickle->candidateinit, &candidate), NULL);
	livekit_free(message);
	struct livekit_request requests[] = {livekit_leave(), livekit_offer("v=0\r\n", 1), livekit_subscription("TR_1", true),
		livekit_ping(1), livekit_ping_req(1, 1)};
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		expect(requests[i].data == NULL ? -1 : 0, NULL);
		livekit_request_free(&requests[i]);
	}
}

static void story_request(void)
{
	static const char join[] = "\x0a\x04" "anna\x12\x04room\x1a\x01t\x22\x08ws://x:1";
	ProtobufCMessage *message;
	struct err err = {""};
	expect(request_unpack(&mentra__livekit__bridge__join_room_request__descriptor, (const uint8_t *)join, sizeof(join) - 1,
		       &message, &err),
		&err);
	if (message != NULL)
		protobuf_c_message_free_unpacked(message, NULL);
}

static void story_token(void)
{
	struct token token;
	struct err err = {""};
	int rc = token_read(JWT, &token, &err);
	expect(rc, &err);
	if (rc == 0)
		assert_string_equal(token.identity, "bridge");
}

// ---- captions

static unsigned segments;

static void on_segment(struct transcript_listener *listener, const struct transcript_segment *segment)
{
	segments += segment->is_final;
}

static void on_end(struct transcript_listener *listener)
{
}

static int64_t spoken_at(void *arg, uint64_t ms)
{
	return (int64_t)ms * 1000;
}

#define WORD(text, at, final)                                                                                          \
	"{\"text\":\" " text "\",\"start_ms\":" at "00,\"end_ms\":" at "90,\"is_final\":" final ",\"speaker\":\"1\",\"language\":\"en\"}"

static void story_transcript(void)
{
	static const char *const answers[] = {
		"{\"tokens\":[" WORD("one", "1", "true") "," WORD("two", "2", "false") "],\"final_audio_proc_ms\":190,\"total_audio_proc_ms\":300}",
		"{\"tokens\":[" WORD("two", "2", "true") ",{\"text\":\"<end>\",\"is_final\":true}],\"final_audio_proc_ms\":290,\"total_audio_proc_ms\":400}",
		"{\"tokens\":[" WORD("three", "4", "true") "],\"final_audio_proc_ms\":490,\"total_audio_proc_ms\":500}",
		"{\"tokens\":[],\"error_code\":503,\"error_type\":\"service_unavailable\",\"error_message\":\"later\"}",
	};
	struct transcript_config config = {.history_segments = 4, .history_bytes = 1000, .spoken_at_us = spoken_at};
	struct transcript_listener listener = {.segment = on_segment, .end = on_end};
	struct transcript *transcript = transcript_create(&config);
	expect(transcript == NULL ? -1 : 0, NULL);
	if (transcript == NULL)
		return;
	segments = 0;
	transcript_listen(transcript, &listener, 1);
	transcript_connected(transcript, 0);
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		struct soniox_answer answer;
		struct err err = {""};
		int rc = soniox_answer_parse(answers[i], strlen(answers[i]), &answer, &err);
		expect(rc, &err);
		if (rc < 0)
			continue;
		transcript_answer(transcript, &answer, (i + 1) * 1000000);
		soniox_answer_free(&answer);
	}
	transcript_flush(transcript);
	if (alloc_failed == 0)
		assert_int_equal(segments, 2);
	transcript_free(transcript);
	struct transcript_segment segment = {.seq = 1, .is_final = true, .speaker = "1", .text = "a \"word\"", .translation = ""};
	for (enum transcript_format format = TRANSCRIPT_JSONL; format <= TRANSCRIPT_VTT; format++) {
		char *text = NULL;
		size_t bytes = transcript_file_format(format, "anna", 1, &segment, &text);
		expect(bytes == 0 ? -1 : 0, NULL);
		free(text);
	}
}

// ---- a stream to Soniox

struct ws {
	ws_event_fn *event;
	void *arg;
	bool open, closed;
};

static struct ws sockets[8];
static unsigned socket_count;
static uint64_t now_ns;

static struct ws *fake_connect(const struct ws_config *config, struct err *err)
{
	if (socket_count == ARRAY_SIZE(sockets)) {
		err_set(err, EMFILE, "no more");
		return NULL;
	}
	struct ws *ws = &sockets[socket_count++];
	*ws = (struct ws){.event = config->event, .arg = config->arg};
	return ws;
}

static int fake_send(struct ws *ws, const void *data, size_t bytes)
{
	return 0;
}

static int fake_send_text(struct ws *ws, const char *text, size_t bytes)
{
	return 0;
}

static size_t fake_queued(const struct ws *ws)
{
	return 0;
}

static void fake_close(struct ws *ws)
{
	assert_false(ws->closed);
	ws->closed = true;
}

static uint64_t fake_now(void)
{
	return now_ns;
}

static uint32_t fake_random(void)
{
	return 7;
}

static void speak(struct pcm *pcm)
{
	ENTERS(worker_role);
	struct pcm_frame frame = {.bytes = PCM_CELL_BYTES, .flags = PCM_F_DECODED, .arrival_ns = now_ns, .capture_us = 1};
	for (unsigned i = 0; i < 10; i++)
		pcm_write(pcm, &frame);
}

static void says(struct ws *ws, enum ws_event_type type, const char *text)
{
	struct ws_event event = {.type = type, .data = (const uint8_t *)text, .bytes = strlen(text), .is_text = true, .text = text};
	if (!ws->closed)
		ws->event(ws->arg, ws, &event);
}

static void story_soniox(void)
{
	ENTERS(control_role);
	struct soniox_service service = {
		.ops = {.ws_connect = fake_connect, .ws_send = fake_send, .ws_send_text = fake_send_text, .ws_queued_bytes = fake_queued,
			.ws_close = fake_close, .now_ns = fake_now, .random = fake_random},
		.url = "ws://soniox", .key = "key", .ca_file = "", .audio = SONIOX_PCM, .replay_ms = 2000, .stall_ms = 10000,
		.connect_limit_ms = 5000, .history_segments = 10, .history_bytes = 1000,
	};
	struct soniox_options options = {.model = "stt-rt-v5", .terms = (char[]){"relay\nleg"}, .text = (char[]){"a talk"}};
	struct err err = {""};
	socket_count = 0;
	now_ns = 1000000000;
	struct pcm *pcm = pcm_create(1000);
	int rc = soniox_admission_init(&service.admission, 4, 100);
	expect(pcm == NULL || rc < 0 ? -1 : 0, NULL);
	struct soniox_stream *stream =
		pcm != NULL && rc == 0 ? soniox_stream_create(&service, "anna", pcm, NULL, &options, &err) : NULL;
	if (stream != NULL) {
		for (unsigned turn = 0; turn < 60; turn++, now_ns += 200000000) {
			speak(pcm);
			soniox_stream_run(stream);
			uint64_t again_ns;
			for (struct soniox_ticket *ticket; (ticket = soniox_admission_next(&service.admission, now_ns, &again_ns)) != NULL;)
				soniox_stream_admitted(ticket);
			struct ws *ws = socket_count > 0 ? &sockets[socket_count - 1] : NULL;
			if (ws != NULL && !ws->open) {
				ws->open = true;
				says(ws, WS_OPEN, "");
			} else if (ws != NULL && turn % 9 == 8) {
				says(ws, WS_CLOSED, "connection lost");
			} else if (ws != NULL) {
				says(ws, WS_MESSAGE, "{\"tokens\":[" WORD("one", "1", "true") "],\"final_audio_proc_ms\":190,\"total_audio_proc_ms\":300}");
			}
			if (turn == 30)
				soniox_stream_options(stream, &options);
		}
		if (alloc_failed == 0)
			assert_true(socket_count > 2);
		soniox_stream_end(stream, 1000);
		soniox_stream_run(stream);
	} else {
		assert_true(alloc_failed > 0);
	}
	soniox_stream_free(stream);
	for (unsigned i = 0; i < socket_count; i++)
		assert_true(sockets[i].closed);
	soniox_admission_finish(&service.admission);
	pcm_unref(pcm);
	struct ogg_opus *ogg = ogg_opus_create(1);
	expect(ogg == NULL ? -1 : 0, NULL);
	ogg_opus_free(ogg);
}

// ---- what a transport is made of

static void ignore_datagram(void *arg, const uint8_t *datagram, size_t bytes)
{
}

static void ignore_check(void *arg, struct endpoint remote, const uint8_t *datagram, size_t bytes)
{
}

static void story_ice(void)
{
	struct err err = {""};
	struct ice_config config = {.local = {0x0a000001, 1000}, .send = ignore_check};
	struct ice *ice = ice_create(&config, &err);
	expect(ice == NULL ? -1 : 0, &err);
	if (ice == NULL) {
			return;
	}
	expect(ice_set_remote(ice, "abcd", "abcdefghijklmnopqrstuvwx", true, &err), &err);
	ice_add_remote_candidate(ice, (struct endpoint){0x0a000002, 7882}, 1);
	uint64_t now = 1000000000;
	for (unsigned i = 0; i < 20; i++)
		ice_poll(ice, now += 100000000);
	expect(ice_restart(ice, &err), &err);
	ice_destroy(ice);
}

static void story_dtls(void)
{
	struct err err = {""};
	static const uint8_t hello[] = {22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 54, 1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 42, 254, 253};
	uint8_t datagram[67] = {0};
	memcpy(datagram, hello, sizeof(hello));
	struct dtls_identity *identity = dtls_identity_create(&err);
	expect(identity == NULL ? -1 : 0, &err);
	struct dtls *dtls = identity == NULL ? NULL : dtls_create(identity, DTLS_SERVER, "AA:BB", NULL, ignore_datagram, NULL, &err);
	expect(identity != NULL && dtls == NULL ? -1 : 0, &err);
	if (dtls != NULL) {
		dtls_start(dtls);
		dtls_input(dtls, datagram, sizeof(datagram));
		dtls_timeout(dtls);
	}
	dtls_destroy(dtls);
	dtls_identity_destroy(identity);
}

// Two associations with each other: what one sends lies here until the other has it.
#define PACKETS 256
struct side {
	struct sctp_endpoint endpoint;
	uint8_t packets[PACKETS][1300];
	size_t bytes[PACKETS];
	unsigned count, messages;
};
static struct side sides[2];

static void keep_packet(void *arg, const uint8_t *packet, size_t bytes)
{
	struct side *side = arg;
	assert_true(bytes <= sizeof(side->packets[0]));
	if (side->count == PACKETS)
		return; // lost on the way
	memcpy(side->packets[side->count], packet, bytes);
	side->bytes[side->count++] = bytes;
}

static void count_message(void *arg, const struct sctp_message *message, bool at_once)
{
	struct side *side = arg;
	side->messages += message->bytes == 3000;
}

static void story_sctp(void)
{
	static const uint8_t data[3000];
	unsigned accepted = 0;
	for (unsigned i = 0; i < 2; i++) {
		sides[i].count = sides[i].messages = 0;
		sides[i].endpoint = (struct sctp_endpoint){.now_ns = 1000000000, .send = keep_packet, .message = count_message,
			.arg = &sides[i]};
		expect(endpoint_start(&sides[i].endpoint), NULL);
	}
	bool both = sides[0].endpoint.assoc != NULL && sides[1].endpoint.assoc != NULL;
	for (unsigned turn = 0; both && turn < 60; turn++) {
		for (unsigned i = 0; i < 2; i++) {
			struct side *from = &sides[i];
			struct sctp_endpoint *to = &sides[1 - i].endpoint;
			unsigned count = from->count;
			from->count = 0;
			for (unsigned k = 0; k < count; k++) { // the first two change places: pieces wait for one another
				unsigned which = k < 2 && count > 1 ? 1 - k : k;
				endpoint_input(to, from->packets[which], from->bytes[which]);
			}
			from->endpoint.now_ns += 60000000;
			if (turn >= 10 && turn < 20 && i == 0)
				accepted += sctp_assoc_send(from->endpoint.assoc, 1, 53, turn % 2 == 0, data, sizeof(data),
						    from->endpoint.now_ns) == 0;
			endpoint_poll(&from->endpoint);
		}
	}
	// What was accepted arrives once there is memory again, if the association lives.
	assert_true(alloc_failed > 0 || (accepted == 10 && sides[1].messages == 10));
	assert_true(sides[1].messages <= accepted);
	for (unsigned i = 0; i < 2; i++)
		sctp_assoc_destroy(sides[i].endpoint.assoc);
}

#define STORY(name)                                                                                                    \
	static void name##_without_memory(void **state)                                                                \
	{                                                                                                              \
		(void)state;                                                                                           \
		alloc_failures(#name, story_##name);                                                                   \
	}
STORY(config)
STORY(livekit)
STORY(request)
STORY(token)
STORY(transcript)
STORY(soniox)
STORY(ice)
STORY(dtls)
STORY(sctp)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(config_without_memory), cmocka_unit_test(livekit_without_memory),
		cmocka_unit_test(request_without_memory), cmocka_unit_test(token_without_memory),
		cmocka_unit_test(transcript_without_memory), cmocka_unit_test(soniox_without_memory),
		cmocka_unit_test(ice_without_memory), cmocka_unit_test(dtls_without_memory), cmocka_unit_test(sctp_without_memory),
	};
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
