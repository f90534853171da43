// SPDX-License-Identifier: ISC
//
// sctp.c - SCTP over DTLS with the LiveKit data channels, on usrsctp.
//
// Runs on: assoc; sctp_init, sctp_finish: init. An association is known to usrsctp by a number, never by a pointer: what comes
// late finds nothing.

#include "dataplane/sctp.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <usrsctp.h>

#include "dataplane/crc32c.h"
#include "dataplane/dcep.h"

#define STREAMS 16            // usrsctp reserves memory for each (facts: dtls-sctp.md 2)
#define HEADER_BYTES 12
#define CHECKSUM_AT 8
#define BUCKETS 4096
#define LOSSY_REXMITS 2       // with fewer pion sends a FORWARD-TSN per packet (facts: dtls-sctp.md 3)
#define CHANNELS 2

struct sctp {
	struct sctp *next; // in its bucket
	uintptr_t id;
	struct socket *socket;
	struct sctp_callbacks callbacks;
	enum sctp_state state;
	uint16_t streams[CHANNELS]; // by enum sctp_channel
	bool acked[CHANNELS];
	uint8_t *partial; // of a message that comes in pieces
	size_t partial_bytes;
	struct sctp_stats stats;
};

static struct sctp *buckets[BUCKETS];
static uintptr_t last_id;
static const char *const labels[CHANNELS] = {"_reliable", "_lossy"};

static struct sctp *find(uintptr_t id)
{
	struct sctp *sctp = buckets[id % BUCKETS];
	while (sctp != NULL && sctp->id != id)
		sctp = sctp->next;
	return sctp;
}

// usrsctp gives packets without a checksum (offload); pion verifies it.
static int output(void *address, void *data, size_t bytes, uint8_t tos, uint8_t df)
{
	(void)tos;
	(void)df;
	struct sctp *sctp = find((uintptr_t)address);
	if (sctp == NULL || bytes < HEADER_BYTES)
		return 0;
	uint8_t *packet = data;
	memset(packet + CHECKSUM_AT, 0, 4);
	uint32_t crc = crc32c(packet, bytes);
	memcpy(packet + CHECKSUM_AT, &crc, 4); // little endian, RFC 9260 appendix A
	sctp->stats.packets_out++;
	sctp->callbacks.send(sctp->callbacks.arg, packet, bytes);
	return 0;
}

int sctp_init(struct err *err)
{
	(void)err;
	usrsctp_init_nothreads(0, output, NULL);
	usrsctp_enable_crc32c_offload();
	usrsctp_sysctl_set_sctp_pr_enable(0);
	usrsctp_sysctl_set_sctp_ecn_enable(0);
	usrsctp_sysctl_set_sctp_asconf_enable(0);
	usrsctp_sysctl_set_sctp_auth_enable(0);
	usrsctp_sysctl_set_sctp_blackhole(2);
	usrsctp_sysctl_set_sctp_nr_outgoing_streams_default(STREAMS);
	return 0;
}

void sctp_finish(void)
{
	for (unsigned tries = 0; tries < 100 && usrsctp_finish() != 0; tries++)
		usrsctp_handle_timers(10);
}

static void set_state(struct sctp *sctp, enum sctp_state state)
{
	if (sctp->state == state || sctp->state == SCTP_STATE_CLOSED)
		return;
	sctp->state = state;
	sctp->callbacks.state(sctp->callbacks.arg, state);
}

static int send_message(struct sctp *sctp, uint16_t stream, uint32_t ppid, bool unordered, const void *data, size_t bytes)
{
	struct sctp_sendv_spa info = {0};
	info.sendv_flags = SCTP_SEND_SNDINFO_VALID;
	info.sendv_sndinfo.snd_sid = stream;
	info.sendv_sndinfo.snd_ppid = htonl(ppid);
	info.sendv_sndinfo.snd_flags = (uint16_t)(unordered ? SCTP_UNORDERED : 0);
	ssize_t sent = usrsctp_sendv(sctp->socket, data, bytes, NULL, 0, &info, sizeof(info), SCTP_SENDV_SPA, 0);
	return sent == (ssize_t)bytes ? 0 : -errno;
}

static void open_channels(struct sctp *sctp)
{
	uint8_t open[64];
	for (unsigned c = 0; c < CHANNELS; c++) {
		size_t bytes = dcep_open(open, sizeof(open), c == SCTP_CHANNEL_LOSSY ? DCEP_REXMIT_UNORDERED : DCEP_RELIABLE,
			c == SCTP_CHANNEL_LOSSY ? LOSSY_REXMITS : 0, labels[c]);
		send_message(sctp, sctp->streams[c], PPID_DCEP, false, open, bytes);
	}
}

static void input_dcep(struct sctp *sctp, uint16_t stream, const uint8_t *data, size_t bytes)
{
	static const uint8_t ack[] = {DCEP_ACK};
	struct dcep_message message;
	if (dcep_parse(data, bytes, &message) < 0)
		return;
	for (unsigned c = 0; c < CHANNELS; c++) {
		if (message.type == DCEP_ACK && sctp->streams[c] == stream)
			sctp->acked[c] = true;
		if (message.type == DCEP_OPEN && message.label_bytes == strlen(labels[c]) &&
			memcmp(message.label, labels[c], message.label_bytes) == 0) {
			sctp->streams[c] = stream; // the peer's own channel of that name replaces ours
			sctp->acked[c] = true;
		}
	}
	if (message.type == DCEP_OPEN)
		send_message(sctp, stream, PPID_DCEP, false, ack, sizeof(ack));
	if (sctp->acked[SCTP_CHANNEL_RELIABLE] && sctp->acked[SCTP_CHANNEL_LOSSY])
		set_state(sctp, SCTP_STATE_OPEN);
}

static void input_message(struct sctp *sctp, uint16_t stream, uint32_t ppid, const uint8_t *data, size_t bytes)
{
	if (ppid == PPID_DCEP) {
		input_dcep(sctp, stream, data, bytes);
		return;
	}
	if (ppid == PPID_STRING_EMPTY || ppid == PPID_BINARY_EMPTY)
		return;
	enum sctp_channel channel = SCTP_CHANNEL_OTHER;
	for (unsigned c = 0; c < CHANNELS; c++)
		if (sctp->streams[c] == stream)
			channel = (enum sctp_channel)c;
	sctp->stats.messages_in++;
	sctp->callbacks.message(sctp->callbacks.arg, channel, data, bytes);
}

static void input_notification(struct sctp *sctp, const union sctp_notification *notification, size_t bytes)
{
	if (bytes < sizeof(notification->sn_header) || notification->sn_header.sn_length != bytes)
		return;
	if (notification->sn_header.sn_type == SCTP_SHUTDOWN_EVENT)
		set_state(sctp, SCTP_STATE_CLOSED);
	if (notification->sn_header.sn_type != SCTP_ASSOC_CHANGE)
		return;
	switch (notification->sn_assoc_change.sac_state) {
	case SCTP_COMM_UP:
	case SCTP_RESTART:
		open_channels(sctp);
		break;
	default: // COMM_LOST, SHUTDOWN_COMP, CANT_STR_ASSOC
		set_state(sctp, SCTP_STATE_CLOSED);
	}
}

// A message that is longer than the library hands out at once is put together here, up to what LiveKit allows.
static void input_piece(struct sctp *sctp, const struct sctp_rcvinfo *info, const uint8_t *data, size_t bytes, bool last)
{
	uint32_t ppid = ntohl(info->rcv_ppid);
	if (last && sctp->partial_bytes == 0) {
		input_message(sctp, info->rcv_sid, ppid, data, bytes);
		return;
	}
	if (sctp->partial == NULL)
		sctp->partial = malloc(SCTP_MESSAGE_MAX);
	if (sctp->partial == NULL || bytes > SCTP_MESSAGE_MAX - sctp->partial_bytes) {
		sctp->partial_bytes = 0;
		return;
	}
	memcpy(sctp->partial + sctp->partial_bytes, data, bytes);
	sctp->partial_bytes += bytes;
	if (last) {
		size_t whole = sctp->partial_bytes;
		sctp->partial_bytes = 0;
		input_message(sctp, info->rcv_sid, ppid, sctp->partial, whole);
	}
}

static int receive(struct socket *socket, union sctp_sockstore address, void *data, size_t bytes, struct sctp_rcvinfo info,
	int flags, void *user)
{
	(void)socket;
	(void)address;
	struct sctp *sctp = find((uintptr_t)user);
	if (sctp != NULL && data != NULL) {
		if (flags & MSG_NOTIFICATION)
			input_notification(sctp, data, bytes);
		else
			input_piece(sctp, &info, data, bytes, (flags & MSG_EOR) != 0);
	} else if (sctp != NULL) {
		set_state(sctp, SCTP_STATE_CLOSED);
	}
	free(data);
	return 1;
}

static bool option(struct sctp *sctp, int level, int name, const void *value, size_t bytes)
{
	return usrsctp_setsockopt(sctp->socket, level, name, value, (socklen_t)bytes) == 0;
}

static bool configure(struct sctp *sctp)
{
	const struct linger linger = {.l_onoff = 1, .l_linger = 0};
	const struct sctp_initmsg init = {.sinit_num_ostreams = STREAMS, .sinit_max_instreams = STREAMS};
	const uint32_t on = 1;
	struct sctp_assoc_value reset = {.assoc_id = SCTP_ALL_ASSOC, .assoc_value = 1};
	static const uint16_t events[] = {SCTP_ASSOC_CHANGE, SCTP_SHUTDOWN_EVENT};
	bool ok = usrsctp_set_non_blocking(sctp->socket, 1) == 0 &&
		  option(sctp, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) &&
		  option(sctp, IPPROTO_SCTP, SCTP_NODELAY, &on, sizeof(on)) &&
		  option(sctp, IPPROTO_SCTP, SCTP_INITMSG, &init, sizeof(init)) &&
		  option(sctp, IPPROTO_SCTP, SCTP_ENABLE_STREAM_RESET, &reset, sizeof(reset));
	for (size_t i = 0; ok && i < ARRAY_SIZE(events); i++) {
		struct sctp_event event = {.se_assoc_id = SCTP_ALL_ASSOC, .se_type = events[i], .se_on = 1};
		ok = option(sctp, IPPROTO_SCTP, SCTP_EVENT, &event, sizeof(event));
	}
	return ok;
}

struct sctp *sctp_create(const struct sctp_callbacks *callbacks, bool dtls_client, struct err *err)
{
	struct sctp *sctp = calloc(1, sizeof(*sctp));
	if (sctp == NULL) {
		err_set(err, ENOMEM, "out of memory");
		return NULL;
	}
	sctp->id = ++last_id;
	sctp->callbacks = *callbacks;
	for (unsigned c = 0; c < CHANNELS; c++)
		sctp->streams[c] = (uint16_t)(c * 2 + (dtls_client ? 0 : 1));
	sctp->next = buckets[sctp->id % BUCKETS];
	buckets[sctp->id % BUCKETS] = sctp;
	usrsctp_register_address((void *)sctp->id);
	sctp->socket = usrsctp_socket(AF_CONN, SOCK_STREAM, IPPROTO_SCTP, receive, NULL, 0, (void *)sctp->id);
	struct sockaddr_conn address = {
		.sconn_family = AF_CONN, .sconn_port = htons(SCTP_PORT), .sconn_addr = (void *)sctp->id};
	if (sctp->socket == NULL || !configure(sctp) ||
		usrsctp_bind(sctp->socket, (struct sockaddr *)&address, sizeof(address)) != 0 ||
		(usrsctp_connect(sctp->socket, (struct sockaddr *)&address, sizeof(address)) != 0 && errno != EINPROGRESS)) {
		err_set(err, errno, "SCTP: %s", strerror(errno));
		sctp_destroy(sctp);
		return NULL;
	}
	return sctp;
}

void sctp_destroy(struct sctp *sctp)
{
	if (sctp == NULL)
		return;
	sctp->state = SCTP_STATE_CLOSED; // no state callback; the ABORT still goes out
	if (sctp->socket != NULL)
		usrsctp_close(sctp->socket);
	usrsctp_deregister_address((void *)sctp->id);
	struct sctp **link = &buckets[sctp->id % BUCKETS];
	while (*link != sctp)
		link = &(*link)->next;
	*link = sctp->next;
	free(sctp->partial);
	free(sctp);
}

// The chunks must tile the packet; the checksum needs no look, the DTLS record around it was authentic.
static enum drop packet_check(const uint8_t *packet, size_t bytes)
{
	if (bytes < HEADER_BYTES + 4 || get_be16(packet) != SCTP_PORT || get_be16(packet + 2) != SCTP_PORT)
		return DROP_SCTP_MALFORMED;
	for (size_t at = HEADER_BYTES; at < bytes;) {
		if (bytes - at < 4)
			return DROP_SCTP_MALFORMED;
		size_t chunk = get_be16(packet + at + 2);
		if (chunk < 4 || chunk > bytes - at)
			return DROP_SCTP_MALFORMED;
		at += (chunk + 3) & ~(size_t)3;
	}
	return DROP_NONE;
}

enum drop sctp_input(struct sctp *sctp, const uint8_t *packet, size_t bytes)
{
	enum drop drop = packet_check(packet, bytes);
	if (drop != DROP_NONE)
		return drop;
	sctp->stats.packets_in++;
	usrsctp_conninput((void *)sctp->id, packet, bytes, 0);
	return DROP_NONE;
}

int sctp_send(struct sctp *sctp, enum sctp_channel channel, const uint8_t *data, size_t bytes)
{
	if (channel >= CHANNELS || bytes == 0 || bytes > SCTP_MESSAGE_MAX)
		return -EINVAL;
	if (sctp->state != SCTP_STATE_OPEN)
		return -ENOTCONN;
	int ret = send_message(sctp, sctp->streams[channel], PPID_BINARY, channel == SCTP_CHANNEL_LOSSY, data, bytes);
	if (ret == 0)
		sctp->stats.messages_out++;
	return ret;
}

void sctp_tick(uint32_t elapsed_ms)
{
	usrsctp_handle_timers(elapsed_ms);
}

void sctp_stats(const struct sctp *sctp, struct sctp_stats *ret_stats)
{
	*ret_stats = sctp->stats;
}
