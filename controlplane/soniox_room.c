// SPDX-License-Identifier: ISC
//
// soniox_room.c - captions into the room: every change of a transcript as a text stream of topic lk.transcription.
//
// A stream per interim with the whole text, all with the segment's id, then one that says it is final: the convention of
// LiveKit's own agents, which clients put in each other's place by that id.
//
// Runs on: control.

#include "controlplane/soniox_room.h"

#include "controlplane/slot.h"
#include "controlplane/text_stream.h"

#define INTERIM_LEAST_NS UINT64_C(150000000) // between two interims

static bool packet_send(struct soniox_room *room, const uint8_t *packet, int bytes) RUNS_ON(control_role);
static bool packet_send(struct soniox_room *room, const uint8_t *packet, int bytes)
{
	if (bytes > 0 && slot_send_data(room->user_id, packet, (size_t)bytes) == 0)
		return true;
	room->failed++;
	return false;
}

static void stream_send(struct soniox_room *room, const struct transcript_segment *segment) RUNS_ON(control_role);
static void stream_send(struct soniox_room *room, const struct transcript_segment *segment)
{
	uint8_t packet[TEXT_STREAM_PACKET_MAX];
	char stream_id[64], segment_id[64], track[64];
	snprintf(stream_id, sizeof(stream_id), "relay_%llx_%llu", (unsigned long long)room->epoch, (unsigned long long)++room->streams);
	snprintf(segment_id, sizeof(segment_id), "SG_%llx_%llu", (unsigned long long)room->epoch, (unsigned long long)segment->seq);
	slot_track_sid(room->user_id, track, sizeof(track));
	const struct text_stream_attribute attributes[] = {
		{"lk.segment_id", segment_id},
		{"lk.transcription_final", segment->is_final ? "true" : "false"},
		{"lk.transcribed_track_id", track[0] != '\0' ? track : NULL},
		{"relay.user_id", room->user_id},
		{"relay.speaker", segment->speaker[0] != '\0' ? segment->speaker : NULL},
		{"relay.language", segment->language[0] != '\0' ? segment->language : NULL},
	};
	if (!packet_send(room, packet, text_stream_header(packet, stream_id, "lk.transcription", clock_wall_us() / 1000, attributes,
				       ARRAY_SIZE(attributes))))
		return;
	const char *text = segment->text;
	size_t left = strlen(text);
	for (uint64_t index = 0; left > 0; index++) {
		size_t take = text_stream_take(text, left);
		if (!packet_send(room, packet, text_stream_chunk(packet, stream_id, index, text, take)))
			return;
		text += take;
		left -= take;
	}
	(void)packet_send(room, packet, text_stream_trailer(packet, stream_id));
}

static void on_segment(struct transcript_listener *listener, const struct transcript_segment *segment)
{
	ENTERS(control_role);
	struct soniox_room *room = listener->arg;
	uint64_t now = clock_mono_ns();
	if (!segment->is_final && now < room->interim_ns + INTERIM_LEAST_NS)
		return; // the next one has its words too
	if (!segment->is_final)
		room->interim_ns = now;
	stream_send(room, segment);
}

static void on_end(struct transcript_listener *listener)
{
	struct soniox_room *room = listener->arg;
	room->transcript = NULL;
}

void soniox_room_start(struct soniox_room *room, const char *user_id, struct transcript *transcript)
{
	*room = (struct soniox_room){.listener = {.segment = on_segment, .end = on_end, .arg = room}, .transcript = transcript,
		.epoch = transcript_epoch(transcript)};
	snprintf(room->user_id, sizeof(room->user_id), "%s", user_id);
	(void)transcript_listen(transcript, &room->listener, 0);
}

void soniox_room_stop(struct soniox_room *room)
{
	if (room->transcript != NULL)
		transcript_unlisten(room->transcript, &room->listener);
	room->transcript = NULL;
}
