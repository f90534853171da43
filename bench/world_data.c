// SPDX-License-Identifier: ISC
//
// world_data.c - the data way of the world's sessions: keys on both sides, and frames of 20 ms of PCM as phones send them.
//
// Runs on: init, control and worker in one: there is only one thread.

#include <stdlib.h>

#include "bench/data_chunk.h"
#include "bench/world.h"
#include "dataplane/dtls_record.h"

#define LOCAL_TAG(index) (0x1000u + (index))
#define FIRST_TSN 1000u

// Who speaks to a session; apart from it, so that making a frame warms nothing of the session's.
struct speaker {
	struct dtls_record record;
	uint32_t next_tsn;
	uint8_t sequence;
};

static struct speaker *speakers;
static uint8_t message[SCTP_DATA_BYTES + 900]; // a DATA chunk; the TSN and the first of the PCM are filled in
static size_t message_bytes, pcm_at;

void world_data_open(unsigned index)
{
	ENTERS(worker_role);
	struct transport *transport = world.sessions[index].transport;
	struct transport_data *rx = &transport->data_rx;
	if (speakers == NULL) {
		speakers = aligned_alloc(CACHE_LINE_BYTES, world.config.sessions * sizeof(speakers[0]));
		message_bytes = data_chunk_put(message, 0, &pcm_at);
	}
	struct dtls_record *record = aligned_alloc(CACHE_LINE_BYTES, sizeof(*record));
	if (speakers == NULL || record == NULL)
		abort();
	struct speaker *speaker = &speakers[index];
	*speaker = (struct speaker){.record = {.key_bytes = 16, .next_seq = 1}, .next_tsn = FIRST_TSN};
	*record = (struct dtls_record){.key_bytes = 16, .next_seq = 1};
	for (unsigned k = 0; k < 16; k++)
		record->remote_key[k] = speaker->record.local_key[k] = (uint8_t)(index * 7 + k * 13);
	rx->record = record;
	rx->voice = 1;
	rx->target_bytes = (uint16_t)strlen(DATA_CHUNK_IDENTITY);
	memcpy(rx->target, DATA_CHUNK_IDENTITY, strlen(DATA_CHUNK_IDENTITY));
	struct sctp_up up = {true, LOCAL_TAG(index), 0x2000 + index, FIRST_TSN};
	sctp_rx_start(&rx->sctp, &up);
	transport->data = true;
	atomic_store(&transport->channels, (uint32_t)DATA_CHUNK_STREAM << 16 | SCTP_RX_NO_STREAM);
	atomic_store(&transport->rwnd_bytes, 131072);
	atomic_store(&transport->remote, endpoint_pack(WORLD_PEER));
}

void world_data_close(unsigned index)
{
	ENTERS(worker_role);
	ingress_sack_forget(world_worker(), world.sessions[index].transport);
	free(world.sessions[index].transport->data_rx.record);
	if (index + 1 < world.config.sessions)
		return;
	free(speakers);
	speakers = NULL;
}

size_t world_data_frame(unsigned index, uint64_t stamp, uint8_t *frame)
{
	ENTERS(worker_role);
	struct speaker *speaker = &speakers[index];
	uint8_t *room = frame + WORLD_HEADERS_BYTES, *packet = room + DTLS_RECORD_HEAD_BYTES;
	message[pcm_at] = speaker->sequence++;
	memcpy(message + pcm_at + 1, &stamp, sizeof(stamp));
	put_be32(message + 4, speaker->next_tsn++);
	size_t at = sctp_packet_begin(packet, LOCAL_TAG(index));
	memcpy(packet + at, message, message_bytes);
	sctp_packet_end(packet, at + message_bytes);
	size_t bytes = dtls_record_seal(&speaker->record, world_worker()->srtp_mgr, DTLS_APPLICATION, room, at + message_bytes);
	return world_headers(index, frame, bytes);
}
