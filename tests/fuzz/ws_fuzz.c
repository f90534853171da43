// SPDX-License-Identifier: ISC
//
// ws_fuzz.c - whatever libwebsockets hands us of a server, in any order it may, while control sends, listens late or closes.
//
// The library is not here: its callbacks are the input, a byte of kind each with what it needs. The first byte says what kind of
// exchange it is. Invariants: a message is the fragments since the first one and never longer than allowed; nothing comes before
// the opening, after the end, or after our close; there is one end, with words; in the end nothing is left.
//
// Runs on: any (io and control in one thread).
#include <libwebsockets.h>
#include <stdlib.h>

#include "controlplane/control.h"

// ---- the library, as far as it is asked

#define MESSAGE_MAX 300u

static struct {
	bool first, final, binary; // of the fragment
	unsigned status;
	int write_result;
	bool refuse_connect;
	lws_sorted_usec_list_t *limit;
	bool writable_asked;
} lws;

#define WSI ((struct lws *)&lws)

#define lws_is_first_fragment(wsi) ((void)(wsi), lws.first)
#define lws_is_final_fragment(wsi) ((void)(wsi), lws.final)
#define lws_frame_is_binary(wsi) ((void)(wsi), lws.binary)
#define lws_callback_on_writable(wsi) ((void)(wsi), lws.writable_asked = true)
#define lws_close_reason(wsi, status, text, bytes) ((void)(wsi))
#define lws_http_client_http_response(wsi) ((void)(wsi), lws.status)
#define lws_http_client_read(wsi, at, bytes) ((void)(wsi), (void)(at), (void)(bytes), 0)
#define lws_set_timeout(wsi, reason, seconds) ((void)(wsi))
#define lws_write(wsi, data, bytes, how) ((void)(wsi), (void)(how), lws.write_result)
#define lws_cancel_service(context) ((void)(context))
#define lws_validity_confirmed(wsi) ((void)(wsi))
#define lws_sul_schedule(context, thread, sul, fn, us) ((void)(context), (void)(fn), (void)(us), lws.limit = (sul))
#define lws_sul_cancel(sul) ((void)(sul), lws.limit = NULL)
#define lws_create_vhost(context, info) ((void)(context), (void)(info), (struct lws_vhost *)&lws)
#define lws_client_connect_via_info(info) (lws.refuse_connect ? NULL : (*(info)->pwsi = WSI))
#define control_post(work, fn, arg) ((void)(work), (void)(fn), (void)(arg))

#include "controlplane/ws_io.c"

// ---- what control hears

static struct {
	bool opened, ended, closed;
	uint8_t message[MESSAGE_MAX + 64], whole[8][MESSAGE_MAX + 64]; // as put together here: being, and not delivered yet
	size_t bytes, whole_bytes[8];
	unsigned first, count;
	bool text, wants_text, inside;
} seen;

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void on_event(void *arg, const struct ws_io_event *event)
{
	must(arg == &seen && !seen.ended && !seen.closed);
	if (event->type == WS_IO_OPEN) {
		must(!seen.opened);
		seen.opened = true;
	} else if (event->type == WS_IO_MESSAGE) {
		must(seen.opened && event->bytes <= MESSAGE_MAX && seen.count > 0);
		must(event->bytes == seen.whole_bytes[seen.first % 8]);
		must(event->bytes == 0 || memcmp(event->data, seen.whole[seen.first % 8], event->bytes) == 0);
		seen.first++;
		seen.count--;
	} else {
		must(event->text != NULL && event->text[0] != '\0' && event->bytes <= WS_IO_BODY_MAX);
		seen.ended = true;
	}
}

static void control_turn(void) ROLE_UNCHECKED;
static void control_turn(void)
{
	events_deliver(NULL);
}

// ---- what the server sends

static void fragment(struct ws_io *io, uint8_t flags, uint8_t *data, size_t bytes) ROLE_UNCHECKED;
static void fragment(struct ws_io *io, uint8_t flags, uint8_t *data, size_t bytes)
{
	lws.first = (flags & 1) || !seen.inside; // a continuation of nothing is refused by the library
	lws.final = flags & 2;
	lws.binary = flags & 4;
	seen.inside = !lws.final;
	if (seen.count == 8)
		control_turn();
	bool over = io->closing || io->end_queued;
	if (lws.first) {
		seen.bytes = 0;
		seen.text = !lws.binary;
	}
	bool fits = seen.bytes + bytes <= MESSAGE_MAX;
	if (fits && bytes > 0)
		memcpy(seen.message + seen.bytes, data, bytes);
	seen.bytes += fits ? bytes : 0;
	must(callback(WSI, LWS_CALLBACK_CLIENT_RECEIVE, io, data, bytes) == 0);
	must(over || fits || io->end_queued); // too long: said at once
	if (over || io->end_queued || !lws.final)
		return;
	if (!seen.text || seen.wants_text) {
		unsigned place = (seen.first + seen.count++) % 8;
		memcpy(seen.whole[place], seen.message, seen.bytes);
		seen.whole_bytes[place] = seen.bytes;
	}
	seen.bytes = 0;
}

enum step { ESTABLISHED, FRAGMENT, PEER_CLOSE, CLOSED, REFUSED, BODY, WRITABLE, CONTROL_TURN, CONTROL_SENDS, CONTROL_CLOSES, STEPS };

// False: the library has nothing more to say.
static bool step(struct ws_io *io, uint8_t kind, uint8_t flags, uint8_t *data, size_t bytes) ROLE_UNCHECKED;
static bool step(struct ws_io *io, uint8_t kind, uint8_t flags, uint8_t *data, size_t bytes)
{
	switch ((enum step)(kind % STEPS)) {
	case ESTABLISHED:
		if (!io->was_open && !io->end_queued && !io->get)
			(void)callback(WSI, LWS_CALLBACK_CLIENT_ESTABLISHED, io, NULL, 0);
		return true;
	case FRAGMENT:
		if (io->was_open)
			fragment(io, flags, data, bytes);
		return true;
	case PEER_CLOSE:
		if (io->was_open)
			(void)callback(WSI, LWS_CALLBACK_WS_PEER_INITIATED_CLOSE, io, data, bytes);
		return true;
	case CLOSED:
		if (io->was_open)
			(void)callback(WSI, LWS_CALLBACK_CLIENT_CLOSED, io, NULL, 0);
		return !io->was_open;
	case REFUSED:
		lws.status = flags * 4u;
		if (!io->was_open)
			(void)callback(WSI, LWS_CALLBACK_CLIENT_CONNECTION_ERROR, io, flags & 1 ? data : NULL, flags & 1 ? bytes : 0);
		return io->was_open;
	case BODY:
		return !io->get || callback(WSI, LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ, io, data, bytes) == 0;
	case WRITABLE:
		lws.write_result = flags & 1 ? -1 : 0;
		return !io->was_open || callback(WSI, LWS_CALLBACK_CLIENT_WRITEABLE, io, NULL, 0) == 0;
	case CONTROL_TURN:
		control_turn();
		return true;
	case CONTROL_SENDS:
		(void)ws_io_send(io, data, bytes, flags & 1);
		run_commands();
		return true;
	default:
		ws_io_close(io);
		seen.closed = true;
		run_commands();
		return true;
	}
}

static struct ws_io *begin(uint8_t kind) ROLE_UNCHECKED;
static struct ws_io *begin(uint8_t kind)
{
	memset(&seen, 0, sizeof(seen));
	memset(&lws, 0, sizeof(lws));
	queue_reset(&thread.commands);
	queue_reset(&thread.events);
	seen.wants_text = kind & 2;
	lws.refuse_connect = kind & 4;
	struct ws_io_config config = {.address = "127.0.0.1", .host = "localhost", .path = "/", .bearer = "t", .get = kind & 1,
		.text = seen.wants_text, .message_max = MESSAGE_MAX, .event = on_event, .arg = &seen};
	struct ws_io *io = ws_io_open(&config);
	must(io != NULL);
	run_commands();
	return io;
}

// The library's last word, and ours.
static void finish(struct ws_io *io) ROLE_UNCHECKED;
static void finish(struct ws_io *io)
{
	if (io->wsi != NULL)
		(void)callback(WSI, LWS_CALLBACK_WSI_DESTROY, io, NULL, 0);
	if (!seen.closed) {
		control_turn();
		must(seen.ended);
		ws_io_close(io);
		seen.closed = true;
		run_commands();
	}
	control_turn();
	must(thread.all == NULL && thread.closing == 0 && thread.events.head == NULL && thread.commands.head == NULL);
}

// Steps: a byte of kind, one of flags, one of length, the bytes.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (bytes == 0)
		return 0;
	struct ws_io *io = begin(data[0]);
	for (size_t at = 1; at + 3 <= bytes && !lws.refuse_connect;) {
		size_t length = MIN_OF((size_t)data[at + 2], bytes - at - 3);
		uint8_t *copy = malloc(length + 1); // so that a byte too far is seen
		must(copy != NULL);
		memcpy(copy, data + at + 3, length);
		bool more = step(io, data[at], data[at + 1], copy, length);
		free(copy);
		if (!more)
			break;
		at += 3 + length;
	}
	finish(io);
	return 0;
}
