// SPDX-License-Identifier: ISC
//
// sctp_reassembly.c - whole messages out of DATA chunks that came in pieces or belong to an ordered stream.
//
// Runs on: assoc.

#include "dataplane/sctp_reassembly.h"

#include <stdlib.h>

#define STREAMS_STEP 16

struct sctp_fragment {
	struct sctp_fragment *previous, *next;
	uint32_t tsn, ppid;
	uint16_t stream, ssn;
	uint8_t flags;
	uint16_t bytes;
	uint8_t data[];
};

void sctp_reassembly_init(struct sctp_reassembly *in,
	void (*deliver)(void *arg, const struct sctp_message *message), void *arg)
{
	*in = (struct sctp_reassembly){.deliver = deliver, .arg = arg};
}

static void drop(struct sctp_reassembly *in, struct sctp_fragment *fragment)
{
	*(fragment->previous != NULL ? &fragment->previous->next : &in->first) = fragment->next;
	*(fragment->next != NULL ? &fragment->next->previous : &in->last) = fragment->previous;
	in->held_bytes -= sizeof(*fragment) + fragment->bytes;
	free(fragment);
}

void sctp_reassembly_finish(struct sctp_reassembly *in)
{
	while (in->first != NULL)
		drop(in, in->first);
	free(in->next_ssn);
	in->next_ssn = NULL;
	in->streams = 0;
}

// The number that is due on a stream; NULL when memory is short.
static uint16_t *due(struct sctp_reassembly *in, uint16_t stream)
{
	if (stream >= in->streams) {
		unsigned streams = (stream / STREAMS_STEP + 1u) * STREAMS_STEP;
		uint16_t *grown = realloc(in->next_ssn, streams * sizeof(*grown));
		if (grown == NULL)
			return NULL;
		memset(grown + in->streams, 0, (streams - in->streams) * sizeof(*grown));
		in->next_ssn = grown;
		in->streams = streams;
	}
	return &in->next_ssn[stream];
}

// Two neighbours of one message.
static bool continues(const struct sctp_fragment *a, const struct sctp_fragment *b)
{
	return b != NULL && b->tsn == a->tsn + 1 && (a->flags & SCTP_DATA_END) == 0 && (b->flags & SCTP_DATA_BEGIN) == 0;
}

// First and last fragment of the message around this one, when it is whole.
static bool whole(struct sctp_fragment *fragment, struct sctp_fragment **ret_first, struct sctp_fragment **ret_last)
{
	struct sctp_fragment *first = fragment, *last = fragment;
	while ((last->flags & SCTP_DATA_END) == 0) {
		if (!continues(last, last->next))
			return false;
		last = last->next;
	}
	while ((first->flags & SCTP_DATA_BEGIN) == 0) {
		if (first->previous == NULL || !continues(first->previous, first))
			return false;
		first = first->previous;
	}
	*ret_first = first;
	*ret_last = last;
	return true;
}

static void deliver_fragments(struct sctp_reassembly *in, struct sctp_fragment *first, struct sctp_fragment *last)
{
	struct sctp_message message = {.stream = first->stream, .ppid = first->ppid, .data = first->data,
		.bytes = first->bytes, .unordered = (first->flags & SCTP_DATA_UNORDERED) != 0};
	uint8_t *joined = NULL;
	if (first != last) {
		size_t bytes = 0;
		for (const struct sctp_fragment *f = first; f != last->next; f = f->next)
			bytes += f->bytes;
		joined = malloc(bytes);
		message.data = joined;
		message.bytes = 0;
		for (const struct sctp_fragment *f = first; joined != NULL && f != last->next; f = f->next) {
			memcpy(joined + message.bytes, f->data, f->bytes);
			message.bytes += f->bytes;
		}
	}
	if (message.data != NULL && message.bytes <= SCTP_MESSAGE_BYTES_MAX)
		in->deliver(in->arg, &message);
	free(joined);
	for (struct sctp_fragment *end = last->next; first != end;) {
		struct sctp_fragment *next = first->next;
		drop(in, first);
		first = next;
	}
}

// Everything of a stream that is in order by now.
static void flush(struct sctp_reassembly *in, uint16_t stream)
{
	uint16_t *next = due(in, stream);
	for (struct sctp_fragment *f = in->first; next != NULL && f != NULL;) {
		struct sctp_fragment *first, *last;
		bool ready = (f->flags & SCTP_DATA_UNORDERED) == 0 && f->stream == stream && f->ssn == *next &&
			     (f->flags & SCTP_DATA_BEGIN) != 0 && whole(f, &first, &last);
		if (!ready) {
			f = f->next;
			continue;
		}
		++*next;
		deliver_fragments(in, first, last);
		f = in->first; // a later number can have an earlier TSN only by a peer's fault; look at all of them
	}
}

static struct sctp_fragment *insert(struct sctp_reassembly *in, const struct sctp_chunk *chunk)
{
	size_t bytes = chunk->bytes - SCTP_DATA_BYTES;
	struct sctp_fragment *fragment = malloc(sizeof(*fragment) + bytes);
	if (fragment == NULL)
		return NULL;
	*fragment = (struct sctp_fragment){
		.tsn = get_be32(chunk->at + 4),
		.stream = get_be16(chunk->at + 8),
		.ssn = get_be16(chunk->at + 10),
		.ppid = get_be32(chunk->at + 12),
		.flags = chunk->flags,
		.bytes = (uint16_t)bytes,
	};
	memcpy(fragment->data, chunk->at + SCTP_DATA_BYTES, bytes);
	struct sctp_fragment *before = in->last;
	while (before != NULL && sctp_after(before->tsn, fragment->tsn))
		before = before->previous;
	fragment->previous = before;
	fragment->next = before != NULL ? before->next : in->first;
	*(before != NULL ? &before->next : &in->first) = fragment;
	*(fragment->next != NULL ? &fragment->next->previous : &in->last) = fragment;
	in->held_bytes += sizeof(*fragment) + bytes;
	return fragment;
}

// Neighbouring TSNs must agree on where a message begins and ends, and on whose it is.
static bool contradicts(const struct sctp_fragment *a, const struct sctp_fragment *b)
{
	if (a == NULL || b == NULL || b->tsn != a->tsn + 1)
		return false;
	bool a_ends = (a->flags & SCTP_DATA_END) != 0, b_begins = (b->flags & SCTP_DATA_BEGIN) != 0;
	if (a_ends != b_begins)
		return true;
	return !a_ends && (a->stream != b->stream || ((a->flags ^ b->flags) & SCTP_DATA_UNORDERED) != 0 ||
				  ((a->flags & SCTP_DATA_UNORDERED) == 0 && a->ssn != b->ssn));
}

int sctp_reassembly_input(struct sctp_reassembly *in, const struct sctp_chunk *chunk)
{
	uint16_t stream = get_be16(chunk->at + 8);
	bool unordered = (chunk->flags & SCTP_DATA_UNORDERED) != 0;
	uint16_t *next = unordered ? NULL : due(in, stream);
	if (!unordered && next == NULL)
		return -ENOMEM;
	if (in->held_bytes > 2 * SCTP_RWND_BYTES)
		return -ENOBUFS;
	if (!unordered && (int16_t)(get_be16(chunk->at + 10) - *next) < 0)
		return 0; // a number that was skipped or delivered
	// Most are whole and due: no copy.
	if ((chunk->flags & SCTP_DATA_WHOLE) == SCTP_DATA_WHOLE && (unordered || get_be16(chunk->at + 10) == *next)) {
		struct sctp_message message = {.stream = stream, .ppid = get_be32(chunk->at + 12), .unordered = unordered,
			.data = chunk->at + SCTP_DATA_BYTES, .bytes = chunk->bytes - SCTP_DATA_BYTES};
		if (!unordered)
			++*next;
		in->deliver(in->arg, &message);
		if (!unordered && in->first != NULL)
			flush(in, stream);
		return 0;
	}
	struct sctp_fragment *fragment = insert(in, chunk), *first, *last;
	if (fragment == NULL)
		return -ENOMEM;
	if (contradicts(fragment->previous, fragment) || contradicts(fragment, fragment->next))
		return -EPROTO;
	if (!unordered)
		flush(in, stream);
	else if (whole(fragment, &first, &last))
		deliver_fragments(in, first, last);
	return 0;
}

// The earliest whole message of a stream that is not later than a skipped number.
static bool deliver_earliest(struct sctp_reassembly *in, uint16_t stream, uint16_t skipped)
{
	uint16_t next = in->next_ssn[stream];
	struct sctp_fragment *earliest = NULL, *earliest_last = NULL;
	for (struct sctp_fragment *f = in->first; f != NULL; f = f->next) {
		struct sctp_fragment *first, *last;
		if ((f->flags & SCTP_DATA_UNORDERED) != 0 || f->stream != stream || (f->flags & SCTP_DATA_BEGIN) == 0 ||
			(uint16_t)(f->ssn - next) > (uint16_t)(skipped - next) || !whole(f, &first, &last))
			continue;
		if (earliest == NULL || (uint16_t)(f->ssn - next) < (uint16_t)(earliest->ssn - next)) {
			earliest = f;
			earliest_last = last;
		}
	}
	if (earliest == NULL)
		return false;
	in->next_ssn[stream] = (uint16_t)(earliest->ssn + 1);
	deliver_fragments(in, earliest, earliest_last);
	return true;
}

void sctp_reassembly_forward(struct sctp_reassembly *in, uint32_t tsn, const uint8_t *skipped, size_t bytes)
{
	// What is whole and waits only for its turn is delivered by the flush below; the rest will never be whole.
	for (struct sctp_fragment *f = in->first; f != NULL && !sctp_after(f->tsn, tsn);) {
		struct sctp_fragment *next = f->next, *first, *last;
		if (!whole(f, &first, &last))
			drop(in, f);
		f = next;
	}
	for (size_t at = 0; at + 4 <= bytes; at += 4) {
		uint16_t stream = get_be16(skipped + at), ssn = get_be16(skipped + at + 2);
		uint16_t *next = stream < SCTP_STREAMS_MAX ? due(in, stream) : NULL;
		if (next == NULL || (int16_t)(ssn - *next) < 0)
			continue;
		while (deliver_earliest(in, stream, ssn))
			continue;
		*next = (uint16_t)(ssn + 1);
		flush(in, stream);
	}
}

void sctp_reassembly_reset(struct sctp_reassembly *in, uint16_t stream)
{
	if (stream < in->streams)
		in->next_ssn[stream] = 0;
}
