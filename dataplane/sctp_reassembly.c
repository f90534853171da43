// SPDX-License-Identifier: ISC
//
// sctp_reassembly.c - whole messages out of DATA chunks that came in pieces or belong to an ordered stream.
//
// Runs on: assoc.

#include "dataplane/sctp_reassembly.h"

#include <stdlib.h>

#define STREAMS_STEP 4 // LiveKit uses as many

// Neighbours of one message are a run. Its two ends know each other, so whether it is whole is seen without walking it.
struct sctp_fragment {
	struct sctp_fragment *previous, *next; // by TSN
	struct sctp_fragment *end;             // of a run's first: its last; of the last: its first
	struct sctp_fragment *before, *after;  // of one that begins an ordered message: on its stream, by number
	uint32_t tsn, ppid;
	uint16_t stream, ssn;
	uint16_t bytes;
	uint8_t flags;
	uint8_t data[];
};

void sctp_reassembly_init(struct sctp_reassembly *in,
	void (*deliver)(void *arg, const struct sctp_message *message), void *arg)
{
	*in = (struct sctp_reassembly){.deliver = deliver, .arg = arg};
}

// One that begins an ordered message stands in its stream's line.
static bool stands_in_line(uint8_t flags)
{
	return (flags & (SCTP_DATA_BEGIN | SCTP_DATA_UNORDERED)) == SCTP_DATA_BEGIN;
}

// The first of a run.
static void drop(struct sctp_reassembly *in, struct sctp_fragment *fragment)
{
	if (fragment->end != fragment) {
		fragment->next->end = fragment->end;
		fragment->end->end = fragment->next;
	}
	*(fragment->previous != NULL ? &fragment->previous->next : &in->first) = fragment->next;
	*(fragment->next != NULL ? &fragment->next->previous : &in->last) = fragment->previous;
	if (stands_in_line(fragment->flags)) {
		struct sctp_order *order = &in->orders[fragment->stream];
		*(fragment->before != NULL ? &fragment->before->after : &order->first) = fragment->after;
		*(fragment->after != NULL ? &fragment->after->before : &order->last) = fragment->before;
	}
	in->held--;
	in->held_bytes -= sizeof(*fragment) + fragment->bytes;
	free(fragment);
}

static void drop_run(struct sctp_reassembly *in, struct sctp_fragment *first)
{
	struct sctp_fragment *behind = first->end->next;
	while (first != behind) {
		struct sctp_fragment *next = first->next;
		drop(in, first);
		first = next;
	}
}

void sctp_reassembly_finish(struct sctp_reassembly *in)
{
	while (in->first != NULL)
		drop(in, in->first);
	free(in->orders);
	in->orders = NULL;
	in->streams = 0;
}

// NULL when memory is short.
static struct sctp_order *order_of(struct sctp_reassembly *in, uint16_t stream)
{
	if (stream >= in->streams) {
		unsigned streams = (stream / STREAMS_STEP + 1u) * STREAMS_STEP;
		struct sctp_order *grown = realloc(in->orders, streams * sizeof(*grown));
		if (grown == NULL)
			return NULL;
		memset(grown + in->streams, 0, (streams - in->streams) * sizeof(*grown));
		in->orders = grown;
		in->streams = streams;
	}
	return &in->orders[stream];
}

// Two neighbours of one message.
static bool continues(const struct sctp_fragment *a, const struct sctp_fragment *b)
{
	return a != NULL && b != NULL && b->tsn == a->tsn + 1 && (a->flags & SCTP_DATA_END) == 0 && (b->flags & SCTP_DATA_BEGIN) == 0;
}

// Joins a fragment with the runs at its sides; returns the first of the run that comes of it.
static struct sctp_fragment *join(struct sctp_fragment *fragment)
{
	struct sctp_fragment *first = fragment, *last = fragment;
	if (continues(fragment->previous, fragment))
		first = fragment->previous->end;
	if (continues(fragment, fragment->next))
		last = fragment->next->end;
	first->end = last;
	last->end = first;
	return first;
}

static bool whole(const struct sctp_fragment *first)
{
	return (first->flags & SCTP_DATA_BEGIN) != 0 && (first->end->flags & SCTP_DATA_END) != 0;
}

static void deliver_run(struct sctp_reassembly *in, struct sctp_fragment *first)
{
	struct sctp_message message = {.stream = first->stream, .ppid = first->ppid, .data = first->data,
		.bytes = first->bytes, .unordered = (first->flags & SCTP_DATA_UNORDERED) != 0};
	const struct sctp_fragment *behind = first->end->next;
	uint8_t *joined = NULL;
	if (first->end != first) {
		size_t bytes = 0;
		for (const struct sctp_fragment *f = first; f != behind; f = f->next)
			bytes += f->bytes;
		joined = malloc(bytes);
		message.data = joined;
		message.bytes = 0;
		for (const struct sctp_fragment *f = first; joined != NULL && f != behind; f = f->next) {
			memcpy(joined + message.bytes, f->data, f->bytes);
			message.bytes += f->bytes;
		}
	}
	if (message.data != NULL && message.bytes <= SCTP_MESSAGE_BYTES_MAX)
		in->deliver(in->arg, &message);
	free(joined);
	drop_run(in, first);
}

// Everything of a stream that is in order by now.
static void flush(struct sctp_reassembly *in, struct sctp_order *order)
{
	while (order->first != NULL && order->first->ssn == order->next_ssn && whole(order->first)) {
		order->next_ssn++;
		deliver_run(in, order->first);
	}
}

// Behind whom in its stream's line a message stands that begins. False when its number contradicts its TSN: who stands there
// with a later number came with a later TSN, or the peer is at fault.
static bool place(struct sctp_reassembly *in, const struct sctp_order *order, uint32_t tsn, uint16_t ssn,
	struct sctp_fragment **ret_before)
{
	struct sctp_fragment *before = order->last;
	for (; before != NULL && (int16_t)(before->ssn - ssn) > 0; before = before->before) {
		in->steps++;
		if (!sctp_after(before->tsn, tsn))
			return false;
	}
	*ret_before = before;
	return before == NULL || (before->ssn != ssn && sctp_after(tsn, before->tsn));
}

static void stand_in_line(struct sctp_order *order, struct sctp_fragment *fragment, struct sctp_fragment *before)
{
	fragment->before = before;
	fragment->after = before != NULL ? before->after : order->first;
	*(before != NULL ? &before->after : &order->first) = fragment;
	*(fragment->after != NULL ? &fragment->after->before : &order->last) = fragment;
}

static struct sctp_fragment *insert(struct sctp_reassembly *in, const struct sctp_chunk *chunk)
{
	size_t bytes = chunk->bytes - SCTP_DATA_BYTES;
	struct sctp_fragment *fragment = malloc(sizeof(*fragment) + bytes);
	if (fragment == NULL)
		return NULL;
	*fragment = (struct sctp_fragment){
		.end = fragment,
		.tsn = get_be32(chunk->at + 4),
		.stream = get_be16(chunk->at + 8),
		.ssn = get_be16(chunk->at + 10),
		.ppid = get_be32(chunk->at + 12),
		.flags = chunk->flags,
		.bytes = (uint16_t)bytes,
	};
	memcpy(fragment->data, chunk->at + SCTP_DATA_BYTES, bytes);
	struct sctp_fragment *before = in->last;
	for (; before != NULL && sctp_after(before->tsn, fragment->tsn); before = before->previous)
		in->steps++;
	fragment->previous = before;
	fragment->next = before != NULL ? before->next : in->first;
	*(before != NULL ? &before->next : &in->first) = fragment;
	*(fragment->next != NULL ? &fragment->next->previous : &in->last) = fragment;
	in->held++;
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

// Keeps a chunk until its message can be delivered, which may be now.
static int hold(struct sctp_reassembly *in, const struct sctp_chunk *chunk, struct sctp_order *order)
{
	struct sctp_fragment *before = NULL;
	if (in->held_bytes > 2 * SCTP_RWND_BYTES || in->held >= SCTP_FRAGMENTS_MAX)
		return -ENOBUFS;
	if (stands_in_line(chunk->flags) && !place(in, order, get_be32(chunk->at + 4), get_be16(chunk->at + 10), &before))
		return -EPROTO;
	struct sctp_fragment *fragment = insert(in, chunk);
	if (fragment == NULL)
		return -ENOMEM;
	if (stands_in_line(fragment->flags))
		stand_in_line(order, fragment, before);
	if (contradicts(fragment->previous, fragment) || contradicts(fragment, fragment->next))
		return -EPROTO;
	struct sctp_fragment *first = join(fragment);
	if (order != NULL)
		flush(in, order);
	else if (whole(first))
		deliver_run(in, first);
	return 0;
}

int sctp_reassembly_input(struct sctp_reassembly *in, const struct sctp_chunk *chunk)
{
	uint16_t stream = get_be16(chunk->at + 8), ssn = get_be16(chunk->at + 10);
	bool unordered = (chunk->flags & SCTP_DATA_UNORDERED) != 0;
	struct sctp_order *order = unordered ? NULL : order_of(in, stream);
	if (!unordered && order == NULL)
		return -ENOMEM;
	if (!unordered && (int16_t)(ssn - order->next_ssn) < 0)
		return 0; // a number that was skipped or delivered
	if ((chunk->flags & SCTP_DATA_WHOLE) != SCTP_DATA_WHOLE || (!unordered && ssn != order->next_ssn))
		return hold(in, chunk, order);
	// Most are whole and due: no copy.
	if (!unordered && order->first != NULL && order->first->ssn == ssn)
		return -EPROTO; // another message of that number has begun
	struct sctp_message message = {.stream = stream, .ppid = get_be32(chunk->at + 12), .unordered = unordered,
		.data = chunk->at + SCTP_DATA_BYTES, .bytes = chunk->bytes - SCTP_DATA_BYTES};
	if (!unordered)
		order->next_ssn++;
	in->deliver(in->arg, &message);
	if (!unordered)
		flush(in, order);
	return 0;
}

void sctp_reassembly_forward(struct sctp_reassembly *in, uint32_t tsn, const uint8_t *skipped, size_t bytes)
{
	// What is whole and waits only for its turn is delivered below; the rest will never be whole.
	for (struct sctp_fragment *f = in->first, *next; f != NULL && !sctp_after(f->tsn, tsn); f = next) {
		in->steps++;
		next = whole(f) ? f->end->next : f->next;
		if (!whole(f))
			drop(in, f);
	}
	for (size_t at = 0; at + 4 <= bytes; at += 4) {
		uint16_t stream = get_be16(skipped + at), ssn = get_be16(skipped + at + 2);
		struct sctp_order *order = stream < SCTP_STREAMS_MAX ? order_of(in, stream) : NULL;
		if (order == NULL || (int16_t)(ssn - order->next_ssn) < 0)
			continue;
		while (order->first != NULL && (int16_t)(order->first->ssn - ssn) <= 0) {
			if (whole(order->first))
				deliver_run(in, order->first);
			else
				drop_run(in, order->first);
		}
		order->next_ssn = (uint16_t)(ssn + 1);
		flush(in, order);
	}
}

void sctp_reassembly_reset(struct sctp_reassembly *in, uint16_t stream)
{
	if (stream >= in->streams)
		return;
	while (in->orders[stream].first != NULL) // the old numbering has ended without what these waited for
		drop_run(in, in->orders[stream].first);
	in->orders[stream].next_ssn = 0;
}
