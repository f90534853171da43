// SPDX-License-Identifier: ISC
//
// channel.c - the two data channels LiveKit knows by name.
//
// Runs on: assoc.

#include "dataplane/channel.h"

#include "dataplane/dcep.h"

#define LOSSY_REXMITS 2 // with fewer pion gives a message up as it sends it (facts dtls-sctp 3)

static const char *const labels[CHANNELS] = {"_reliable", "_lossy"};

void channels_init(struct channels *channels, bool dtls_client)
{
	*channels = (struct channels){0};
	for (unsigned c = 0; c < CHANNELS; c++)
		channels->streams[c] = (uint16_t)(c * 2 + (dtls_client ? 0 : 1));
}

void channels_open(struct channels *channels, struct sctp_assoc *assoc, uint64_t now_ns)
{
	uint8_t open[64];
	for (unsigned c = 0; c < CHANNELS; c++) {
		channels->usable[c] = false;
		size_t bytes = dcep_open(open, sizeof(open), c == CHANNEL_LOSSY ? DCEP_REXMIT_UNORDERED : DCEP_RELIABLE,
			c == CHANNEL_LOSSY ? LOSSY_REXMITS : 0, labels[c]);
		sctp_assoc_send(assoc, channels->streams[c], PPID_DCEP, false, open, bytes, now_ns);
	}
}

enum drop channels_dcep(struct channels *channels, struct sctp_assoc *assoc, const struct sctp_message *message, uint64_t now_ns)
{
	static const uint8_t ack[] = {DCEP_ACK};
	struct dcep_message dcep;
	if (dcep_parse(message->data, message->bytes, &dcep) < 0)
		return DROP_NONE;
	for (unsigned c = 0; c < CHANNELS; c++) {
		if (dcep.type == DCEP_ACK && channels->streams[c] == message->stream)
			channels->usable[c] = true;
		if (dcep.type == DCEP_OPEN && dcep.label_bytes == strlen(labels[c]) &&
			memcmp(dcep.label, labels[c], dcep.label_bytes) == 0) {
			channels->streams[c] = message->stream;
			channels->usable[c] = true;
		}
	}
	if (dcep.type == DCEP_OPEN &&
		sctp_assoc_send(assoc, message->stream, PPID_DCEP, false, ack, sizeof(ack), now_ns) == -ENOBUFS)
		return DROP_SCTP_CONTROL_FLOOD;
	return DROP_NONE;
}

bool channels_usable(const struct channels *channels)
{
	return channels->usable[CHANNEL_RELIABLE] && channels->usable[CHANNEL_LOSSY];
}

enum channel channels_find(const struct channels *channels, uint16_t stream)
{
	for (unsigned c = 0; c < CHANNELS; c++)
		if (channels->streams[c] == stream)
			return (enum channel)c;
	return CHANNEL_OTHER;
}
