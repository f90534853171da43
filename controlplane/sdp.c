// SPDX-License-Identifier: ISC
//
// sdp.c - writes offers and reads answers, as far as a single bundled PeerConnection needs it.
//
// Runs on: any.
#include "controlplane/sdp.h"

#include <strings.h>

// ---- writing

struct text {
	char *at;
	size_t size, used;
	bool full;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text, const char *format, ...)
{
	if (text->full)
		return;
	va_list args;
	va_start(args, format);
	int n = vsnprintf(text->at + text->used, text->size - text->used, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= text->size - text->used)
		text->full = true;
	else
		text->used += (size_t)n;
}

// pion takes credentials and role from any section, but wants them in each; the fingerprint may stand above them all.
static void put_transport(struct text *text, const struct transport_local *local, unsigned mid)
{
	put(text, "c=IN IP4 0.0.0.0\r\na=mid:%u\r\n", mid);
	put(text, "a=ice-ufrag:%s\r\na=ice-pwd:%s\r\n", local->ufrag, local->pwd);
	put(text, "a=setup:actpass\r\n");
	if (mid > 0)
		return;
	uint32_t ip = local->address;
	put(text, "a=candidate:1 1 udp %u %u.%u.%u.%u %u typ host\r\na=end-of-candidates\r\n",
		local->candidate_priority, ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255, local->port);
}

int sdp_write_offer(const struct sdp_offer *offer, char *ret_text, size_t size)
{
	if (offer->audio_count >= SDP_SECTIONS_MAX)
		return -EINVAL;
	struct text text = {.at = ret_text, .size = size, .full = size == 0};
	put(&text, "v=0\r\no=- %llu %u IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", (unsigned long long)offer->session_id,
		offer->version);
	put(&text, "a=group:BUNDLE 0");
	for (unsigned mid = 1; mid <= offer->audio_count; mid++)
		put(&text, " %u", mid);
	put(&text, "\r\na=msid-semantic:WMS *\r\na=fingerprint:sha-256 %s\r\n", offer->local->fingerprint);

	put(&text, "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n");
	put_transport(&text, offer->local, 0);
	put(&text, "a=sendrecv\r\na=sctp-port:5000\r\na=max-message-size:65535\r\n");
	for (unsigned mid = 1; mid <= offer->audio_count; mid++) {
		put(&text, "m=audio 9 UDP/TLS/RTP/SAVPF %d %d\r\n", SDP_PT_OPUS, SDP_PT_RED);
		put_transport(&text, offer->local, mid);
		// Idle sections stay recvonly: an inactive one would never be used again by the server.
		put(&text, "a=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
		put(&text, "a=rtpmap:%d opus/48000/2\r\na=fmtp:%d minptime=10;useinbandfec=1\r\n", SDP_PT_OPUS,
			SDP_PT_OPUS);
		put(&text, "a=rtpmap:%d red/48000/2\r\na=fmtp:%d %d/%d\r\n", SDP_PT_RED, SDP_PT_RED, SDP_PT_OPUS,
			SDP_PT_OPUS);
	}
	return text.full ? -ENOBUFS : (int)text.used;
}

// ---- reading

struct span {
	const char *at;
	size_t length;
};

// Cuts the next word (up to space) off the front of line.
static struct span take_word(struct span *line)
{
	while (line->length > 0 && *line->at == ' ') {
		line->at++;
		line->length--;
	}
	struct span word = {line->at, 0};
	while (word.length < line->length && line->at[word.length] != ' ')
		word.length++;
	line->at += word.length;
	line->length -= word.length;
	return word;
}

static bool span_is(struct span span, const char *text)
{
	return span.length == strlen(text) && memcmp(span.at, text, span.length) == 0;
}

static bool span_is_nocase(struct span span, const char *text)
{
	return span.length == strlen(text) && strncasecmp(span.at, text, span.length) == 0;
}

// If span starts with prefix, cut it off.
static bool span_skip(struct span *span, const char *prefix)
{
	size_t length = strlen(prefix);
	if (span->length < length || memcmp(span->at, prefix, length) != 0)
		return false;
	span->at += length;
	span->length -= length;
	return true;
}

static bool span_number(struct span span, uint64_t max, uint64_t *ret)
{
	uint64_t value = 0;
	if (span.length == 0 || span.length > 10)
		return false;
	for (size_t i = 0; i < span.length; i++) {
		if (span.at[i] < '0' || span.at[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(span.at[i] - '0');
	}
	*ret = value;
	return value <= max;
}

static bool span_copy(struct span span, char *ret, size_t size)
{
	if (span.length >= size)
		return false;
	memcpy(ret, span.at, span.length);
	ret[span.length] = '\0';
	return true;
}

static bool span_ipv4(struct span span, uint32_t *ret)
{
	uint32_t ip = 0;
	unsigned parts = 0;
	while (parts < 4) {
		struct span part = {span.at, 0};
		while (part.length < span.length && span.at[part.length] != '.')
			part.length++;
		uint64_t value;
		if (part.length > 3 || !span_number(part, 255, &value))
			return false;
		ip = ip << 8 | (uint32_t)value;
		parts++;
		span.at += part.length;
		span.length -= part.length;
		if (parts < 4 && !span_skip(&span, "."))
			return false;
	}
	*ret = ip;
	return span.length == 0;
}

int sdp_read_candidate(const char *text, size_t bytes, struct sdp_candidate *ret_candidate)
{
	struct span line = {text, bytes};
	uint64_t component, priority, port;
	uint32_t ip;
	(void)span_skip(&line, "a=");
	if (!span_skip(&line, "candidate:"))
		return -EINVAL;
	struct span foundation = take_word(&line);
	if (foundation.length == 0 || !span_number(take_word(&line), 256, &component))
		return -EINVAL;
	struct span protocol = take_word(&line);
	if (!span_number(take_word(&line), UINT32_MAX, &priority))
		return -EINVAL;
	struct span address = take_word(&line);
	if (!span_number(take_word(&line), 65535, &port) || !span_is(take_word(&line), "typ"))
		return -EINVAL;
	if (component != 1 || port == 0 || !span_is_nocase(protocol, "udp") || !span_ipv4(address, &ip) || ip == 0)
		return -ENOTSUP;
	*ret_candidate = (struct sdp_candidate){.endpoint = {.ip = ip, .port = (uint16_t)port},
		.priority = (uint32_t)priority};
	return 0;
}

static void add_candidate(struct sdp_answer *answer, struct span line)
{
	struct sdp_candidate candidate;
	if (sdp_read_candidate(line.at, line.length, &candidate) < 0)
		return;
	for (unsigned i = 0; i < answer->candidate_count; i++) {
		if (endpoint_equal(answer->candidates[i].endpoint, candidate.endpoint))
			return;
	}
	if (answer->candidate_count < SDP_CANDIDATES_MAX)
		answer->candidates[answer->candidate_count++] = candidate;
}

// "sha-256 AB:CD:..": 32 bytes, kept in upper case. Other hashes are passed over.
static void read_fingerprint(struct sdp_answer *answer, struct span value)
{
	struct span hash = take_word(&value), hex = take_word(&value);
	char text[TRANSPORT_TEXT];
	if (!span_is_nocase(hash, "sha-256") || hex.length != 32 * 3 - 1)
		return;
	for (size_t i = 0; i < hex.length; i++) {
		char c = hex.at[i];
		if (c >= 'a' && c <= 'f')
			c = (char)(c - 'a' + 'A');
		bool digit = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
		if (i % 3 == 2 ? c != ':' : !digit)
			return;
		text[i] = c;
	}
	text[hex.length] = '\0';
	memcpy(answer->remote.fingerprint, text, hex.length + 1);
}

static void read_rtpmap(struct sdp_section *section, struct span value)
{
	uint64_t pt;
	struct span number = take_word(&value), codec = take_word(&value);
	if (!span_number(number, 127, &pt))
		return;
	if (codec.length >= 5 && strncasecmp(codec.at, "opus/", 5) == 0)
		section->pt_opus = (uint8_t)pt;
	if (codec.length >= 4 && strncasecmp(codec.at, "red/", 4) == 0)
		section->pt_red = (uint8_t)pt;
}

// What follows the stream's name in an msid is the track's.
static void read_track(struct sdp_section *section, struct span after_stream)
{
	struct span track = take_word(&after_stream);
	if (track.length > 0 && !span_copy(track, section->track, sizeof(section->track)))
		section->track[0] = '\0';
}

// "SSRC attribute": one SSRC a section; the first one is the track's.
static void read_ssrc(struct sdp_section *section, struct span value)
{
	uint64_t ssrc;
	if (!span_number(take_word(&value), UINT32_MAX, &ssrc) || ssrc == 0)
		return;
	if (section->ssrc == 0)
		section->ssrc = (uint32_t)ssrc;
	struct span attribute = take_word(&value);
	if (section->ssrc == ssrc && section->track[0] == '\0' && span_skip(&attribute, "msid:"))
		read_track(section, value);
}

static void read_setup(struct sdp_answer *answer, struct span value)
{
	answer->remote.setup = span_is(value, "passive") ? TRANSPORT_SETUP_PASSIVE : TRANSPORT_SETUP_ACTIVE;
}

static void read_section_attribute(struct sdp_section *section, struct span line)
{
	if (span_skip(&line, "mid:")) {
		if (!span_copy(line, section->mid, sizeof(section->mid)))
			section->mid[0] = '\0';
	} else if (span_skip(&line, "rtpmap:")) {
		read_rtpmap(section, line);
	} else if (span_skip(&line, "ssrc:")) {
		read_ssrc(section, line);
	} else if (span_skip(&line, "msid:")) {
		(void)take_word(&line);
		read_track(section, line);
	} else if (span_is(line, "sendonly") || span_is(line, "sendrecv")) {
		section->sends = true;
	}
}

static void read_attribute(struct sdp_answer *answer, struct sdp_section *section, struct span line)
{
	struct span value = line;
	struct transport_remote *remote = &answer->remote;
	if (span_skip(&value, "ice-ufrag:")) {
		if (remote->ufrag[0] == '\0')
			(void)span_copy(value, remote->ufrag, sizeof(remote->ufrag));
	} else if (span_skip(&value, "ice-pwd:")) {
		if (remote->pwd[0] == '\0')
			(void)span_copy(value, remote->pwd, sizeof(remote->pwd));
	} else if (span_skip(&value, "fingerprint:")) {
		if (remote->fingerprint[0] == '\0')
			read_fingerprint(answer, value);
	} else if (span_is(line, "ice-lite")) {
		remote->ice_lite = true;
	} else if (span_skip(&value, "setup:")) {
		read_setup(answer, value);
	} else if (span_skip(&value, "candidate:")) {
		add_candidate(answer, line);
	} else if (section != NULL) {
		read_section_attribute(section, line);
	}
}

static struct sdp_section *begin_section(struct sdp_answer *answer, struct span line)
{
	if (answer->section_count == SDP_SECTIONS_MAX)
		return NULL;
	struct sdp_section *section = &answer->sections[answer->section_count++];
	*section = (struct sdp_section){.kind = SDP_OTHER, .pt_opus = SDP_PT_NONE, .pt_red = SDP_PT_NONE};
	struct span kind = take_word(&line), port = take_word(&line);
	if (span_is(kind, "audio"))
		section->kind = SDP_AUDIO;
	else if (span_is(kind, "application"))
		section->kind = SDP_APPLICATION;
	section->rejected = span_is(port, "0");
	return section;
}

int sdp_read_answer(const char *text, size_t bytes, struct sdp_answer *ret_answer, struct err *err)
{
	struct sdp_section *section = NULL;
	const char *end = text + bytes;
	*ret_answer = (struct sdp_answer){.remote = {.setup = TRANSPORT_SETUP_ACTIVE}};
	if (bytes < 2 || memcmp(text, "v=", 2) != 0)
		return err_set(err, EPROTO, "the server's answer is not SDP");
	for (const char *at = text; at < end;) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *stop = newline == NULL ? end : newline;
		struct span line = {at, (size_t)(stop - at)};
		if (line.length > 0 && line.at[line.length - 1] == '\r')
			line.length--;
		if (span_skip(&line, "m=")) {
			section = begin_section(ret_answer, line);
			if (section == NULL)
				return err_set(err, EPROTO, "the server's answer has too many media sections");
		} else if (span_skip(&line, "a=")) {
			read_attribute(ret_answer, section, line);
		}
		at = newline == NULL ? end : newline + 1;
	}
	if (ret_answer->remote.ufrag[0] == '\0' || ret_answer->remote.pwd[0] == '\0')
		return err_set(err, EPROTO, "the server's answer has no ICE credentials");
	if (ret_answer->remote.fingerprint[0] == '\0')
		return err_set(err, EPROTO, "the server's answer has no SHA-256 fingerprint");
	return 0;
}
