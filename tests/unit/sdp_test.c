// SPDX-License-Identifier: ISC
//
// sdp_test.c - the offer is what an SFU wants to see, and its answers are understood, odd ones as well.
//
// Runs on: any.
#include "controlplane/sdp.h"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#define PRINT_LOWER "ab:cd:ef:01:23:45:67:89:ab:cd:ef:01:23:45:67:89:ab:cd:ef:01:23:45:67:89:ab:cd:ef:01:23:45:67:89"
#define PRINT_UPPER "AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89"
#define HEAD "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
#define CREDENTIALS "a=ice-ufrag:ufragufragufrag1\r\na=ice-pwd:pwdpwdpwdpwdpwdpwdpwdpwdpwdpwdpw\r\n"
#define MINIMUM HEAD "a=fingerprint:sha-256 " PRINT_UPPER "\r\n" CREDENTIALS

static const struct transport_local local = {
	.ufrag = "Ufr1", .pwd = "secretsecretsecretsecret", .fingerprint = PRINT_UPPER,
	.address = 0x0a010203, .port = 40000, .candidate_priority = 2130706431,
};

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;
	for (; (text = strstr(text, what)) != NULL; text += strlen(what))
		n++;
	return n;
}

static void test_offer(void **state)
{
	char text[SDP_OFFER_MAX];
	struct sdp_offer offer = {.local = &local, .session_id = 77, .version = 3, .audio_count = 3};
	int length = sdp_write_offer(&offer, text, sizeof(text));
	assert_int_equal(length, strlen(text));
	assert_non_null(strstr(text, "o=- 77 3 IN IP4 127.0.0.1\r\n"));
	assert_non_null(strstr(text, "a=group:BUNDLE 0 1 2 3\r\n"));
	assert_non_null(strstr(text, "a=candidate:1 1 udp 2130706431 10.1.2.3 40000 typ host\r\n"));
	assert_int_equal(count(text, "a=candidate"), 1);
	assert_int_equal(count(text, "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"), 1);
	assert_int_equal(count(text, "m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\n"), 3);
	assert_int_equal(count(text, "a=setup:actpass\r\n"), 4);
	assert_int_equal(count(text, "a=ice-pwd:secretsecretsecretsecret\r\n"), 4);
	assert_int_equal(count(text, "a=recvonly\r\n"), 3);
	assert_int_equal(count(text, "a=rtcp-mux\r\n"), 3);
	assert_int_equal(count(text, "a=fingerprint:sha-256 " PRINT_UPPER "\r\n"), 1);
	assert_int_equal(count(text, "a=extmap") + count(text, "a=rtcp-fb"), 0); // nothing is asked of us that we do not send
	assert_int_equal(count(text, "\n"), count(text, "\r\n"));
	for (char *m = strstr(text, "m="); m != NULL; m = strstr(m + 1, "\nm="))
		assert_non_null(strstr(m, "a=mid:"));
}

static void test_offer_bounds(void **state)
{
	char text[SDP_OFFER_MAX];
	struct transport_local longest = local;
	memset(longest.ufrag, 'u', sizeof(longest.ufrag) - 1);
	memset(longest.pwd, 'p', sizeof(longest.pwd) - 1);
	memset(longest.fingerprint, 'F', sizeof(longest.fingerprint) - 1);
	struct sdp_offer offer = {.local = &longest, .session_id = UINT64_MAX, .version = UINT32_MAX,
		.audio_count = SDP_SECTIONS_MAX - 1};
	int length = sdp_write_offer(&offer, text, sizeof(text));
	assert_true(length > 0);
	char *exact = malloc((size_t)length + 1);
	assert_int_equal(sdp_write_offer(&offer, exact, (size_t)length + 1), length);
	assert_int_equal(sdp_write_offer(&offer, exact, (size_t)length), -ENOBUFS);
	assert_int_equal(sdp_write_offer(&offer, exact, 0), -ENOBUFS);
	free(exact);
	offer.audio_count = SDP_SECTIONS_MAX;
	assert_int_equal(sdp_write_offer(&offer, text, sizeof(text)), -EINVAL);
}

// The shape of a pion answer with one mapped section, one idle, one whose track went.
static const char answer_text[] = HEAD
	"a=msid-semantic:WMS *\r\n"
	"a=fingerprint:sha-256 " PRINT_LOWER "\r\n"
	"a=extmap-allow-mixed\r\na=group:BUNDLE 0 1 2 3\r\n"
	"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=setup:active\r\na=mid:0\r\n"
	"a=sendrecv\r\na=sctp-port:5000\r\n" CREDENTIALS
	"a=candidate:1 1 udp 2130706431 10.0.0.9 7882 typ host ufrag x\r\n"
	"a=candidate:1 2 udp 2130706431 10.0.0.9 7882 typ host\r\n"
	"a=candidate:1 1 udp 2130706431 10.0.0.9 7882 typ host\r\n"
	"a=candidate:2 1 tcp 1671430143 10.0.0.9 7881 typ host tcptype passive\r\n"
	"a=candidate:3 1 udp 1694498815 2001:db8::1 7882 typ host\r\n"
	"a=candidate:4 1 UDP 1694498815 203.0.113.5 50000 typ srflx raddr 0.0.0.0 rport 50000\r\n"
	"a=end-of-candidates\r\n"
	"m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=setup:active\r\na=mid:1\r\n"
	"a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\n"
	"a=ssrc:3735928559 cname:PA_a|TR_b\r\na=ssrc:3735928559 msid:PA_a|TR_b TR_b\r\n"
	"a=msid:PA_a|TR_b TR_b\r\na=sendonly\r\n"
	"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:2\r\na=rtpmap:111 OPUS/48000/2\r\na=sendonly\r\n"
	"m=audio 0 UDP/TLS/RTP/SAVPF 111\r\na=mid:3\r\na=inactive\r\n";

static void test_answer(void **state)
{
	struct sdp_answer answer;
	struct err err = {0};
	assert_int_equal(sdp_read_answer(answer_text, sizeof(answer_text) - 1, &answer, &err), 0);
	assert_string_equal(answer.remote.ufrag, "ufragufragufrag1");
	assert_string_equal(answer.remote.fingerprint, PRINT_UPPER);
	assert_int_equal(answer.remote.setup, TRANSPORT_SETUP_ACTIVE);
	assert_false(answer.remote.ice_lite);
	assert_int_equal(answer.candidate_count, 2);
	assert_int_equal(answer.candidates[0].endpoint.ip, 0x0a000009);
	assert_int_equal(answer.candidates[0].endpoint.port, 7882);
	assert_int_equal(answer.candidates[1].endpoint.ip, 0xcb007105);
	assert_int_equal(answer.section_count, 4);
	const struct sdp_section *s = answer.sections;
	assert_int_equal(s[0].kind, SDP_APPLICATION);
	assert_int_equal(s[1].kind, SDP_AUDIO);
	assert_string_equal(s[1].mid, "1");
	assert_string_equal(s[1].track, "TR_b");
	assert_int_equal(s[1].ssrc, 0xdeadbeef);
	assert_true(s[1].sends);
	assert_int_equal(s[1].pt_opus, 111);
	assert_int_equal(s[1].pt_red, 63);
	assert_int_equal(s[2].ssrc, 0);
	assert_int_equal(s[2].pt_opus, 111);
	assert_int_equal(s[2].pt_red, SDP_PT_NONE);
	assert_true(s[3].rejected);
	assert_false(s[3].sends);
}

static void test_answer_variants(void **state)
{
	struct sdp_answer answer;
	static const char lite[] = MINIMUM "a=ice-lite\na=setup:passive\nm=audio 9 X 1\na=ssrc:5 msid:S T\na=sendrecv";
	assert_int_equal(sdp_read_answer(lite, sizeof(lite) - 1, &answer, NULL), 0);
	assert_true(answer.remote.ice_lite);
	assert_int_equal(answer.remote.setup, TRANSPORT_SETUP_PASSIVE);
	assert_string_equal(answer.sections[0].track, "T");
	assert_true(answer.sections[0].sends);
}

static void test_answer_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"", "the server's answer is not SDP"},
		{"v", "the server's answer is not SDP"},
		{"hello", "the server's answer is not SDP"},
		{HEAD "a=fingerprint:sha-256 " PRINT_UPPER "\r\n", "the server's answer has no ICE credentials"},
		{HEAD CREDENTIALS, "the server's answer has no SHA-256 fingerprint"},
		{HEAD CREDENTIALS "a=fingerprint:sha-1 AB:CD\r\n", "the server's answer has no SHA-256 fingerprint"},
		{HEAD CREDENTIALS "a=fingerprint:sha-256 AB:CD\r\n", "the server's answer has no SHA-256 fingerprint"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sdp_answer answer;
		struct err err = {0};
		assert_int_equal(sdp_read_answer(cases[i].text, strlen(cases[i].text), &answer, &err), -EPROTO);
		assert_string_equal(err.text, cases[i].why);
	}
	char many[4096] = MINIMUM;
	for (int i = 0; i < SDP_SECTIONS_MAX; i++)
		strcat(many, "m=audio 9 X 1\r\n");
	struct sdp_answer answer;
	assert_int_equal(sdp_read_answer(many, strlen(many), &answer, NULL), 0);
	strcat(many, "m=audio 9 X 1\r\n");
	assert_int_equal(sdp_read_answer(many, strlen(many), &answer, NULL), -EPROTO);
}

static void test_candidate(void **state)
{
	static const struct {
		const char *text;
		int rc;
	} cases[] = {
		{"candidate:1 1 udp 1 1.2.3.4 5 typ host", 0},
		{"a=candidate:1 1 udp 4294967295 255.255.255.255 65535 typ host generation 0", 0},
		{"candidate:1 2 udp 1 1.2.3.4 5 typ host", -ENOTSUP},
		{"candidate:1 1 tcp 1 1.2.3.4 5 typ host", -ENOTSUP},
		{"candidate:1 1 udp 1 fe80::1 5 typ host", -ENOTSUP},
		{"candidate:1 1 udp 1 0.0.0.0 5 typ host", -ENOTSUP},
		{"candidate:1 1 udp 1 1.2.3.4 0 typ host", -ENOTSUP},
		{"candidate:1 1 udp 1 abc.local 5 typ host", -ENOTSUP},
		{"candidate:1 1 udp 1 1.2.3 5 typ host", -ENOTSUP},
		{"candidate:1 1 udp 1 1.2.3.4.5 5 typ host", -ENOTSUP},
		{"candidate:1 1 udp 1 1.2.3.256 5 typ host", -ENOTSUP},
		{"candidate:1 1 udp 4294967296 1.2.3.4 5 typ host", -EINVAL},
		{"candidate:1 1 udp 1 1.2.3.4 65536 typ host", -EINVAL},
		{"candidate:1 1 udp 1 1.2.3.4 5", -EINVAL},
		{"candidate:", -EINVAL},
		{"", -EINVAL},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sdp_candidate candidate;
		assert_int_equal(sdp_read_candidate(cases[i].text, strlen(cases[i].text), &candidate), cases[i].rc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offer),
		cmocka_unit_test(test_offer_bounds),
		cmocka_unit_test(test_answer),
		cmocka_unit_test(test_answer_variants),
		cmocka_unit_test(test_answer_refused),
		cmocka_unit_test(test_candidate),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
