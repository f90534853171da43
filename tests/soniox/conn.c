// SPDX-License-Identifier: ISC
//
// conn.c - one connection to the stand-in: HTTP, or a WebSocket with its session.
//
// Runs on: the connection's thread.
#include "tests/soniox/conn.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "tests/soniox/server.h"
#include "tests/soniox/tick.h"
#include "tests/soniox/verbs.h"

#define HEAD_MAX 16384
#define BODY_MAX 65536
#define HEAD_LIMIT_MS 10000  // real time for an HTTP request
#define WRITE_LIMIT_MS 30000 // real time without progress
#define QUICK_BYTES (1 << 20) // socket buffer after slow reading
#define LINGER_MS 2000       // real time for the peer to read what came before the end

// ---- out

void conn_put(struct conn *conn, enum frame_opcode opcode, const void *data, size_t bytes)
{
	uint8_t head[FRAME_HEAD_MAX];
	size_t head_bytes = frame_head(head, opcode, bytes);
	if (conn->ended != NULL)
		return;
	if (link_write(&conn->link, head, head_bytes, WRITE_LIMIT_MS) < 0 ||
		link_write(&conn->link, data, bytes, WRITE_LIMIT_MS) < 0)
		conn->ended = "lost";
}

static void enqueue(struct conn *conn, uint32_t after_ms, bool end, struct message message)
{
	struct outgoing *outgoing = calloc(1, sizeof(*outgoing));
	if (outgoing == NULL)
		abort();
	uint64_t base = tick_ms();
	for (struct outgoing *o = conn->first; o != NULL; o = o->next)
		base = MAX_OF(base, o->due);
	outgoing->due = MAX_OF(base, tick_ms() + conn->late_ms) + after_ms;
	outgoing->end = end;
	outgoing->message = message;
	*conn->last = outgoing;
	conn->last = &outgoing->next;
}

void conn_send(struct conn *conn, uint32_t after_ms, struct message message)
{
	enqueue(conn, after_ms, false, message);
}

void conn_end(struct conn *conn, uint32_t after_ms)
{
	enqueue(conn, after_ms, true, (struct message){0});
}

static void outgoing_free(struct outgoing *outgoing)
{
	message_free(&outgoing->message);
	free(outgoing);
}

void conn_drop_end(struct conn *conn)
{
	struct outgoing **link = &conn->first;
	while (*link != NULL) {
		struct outgoing *o = *link;
		if (o->end || o->message.kind == MESSAGE_FINISHED) {
			*link = o->next;
			outgoing_free(o);
		} else {
			link = &o->next;
		}
	}
	conn->last = link;
}

static void note_sent(struct entry *entry, const struct message *message)
{
	journal_lock();
	entry->sent.messages++;
	entry->sent.finals += message->finals;
	entry->sent.nonfinals += message->nonfinals;
	entry->sent.ends += message->ends;
	entry->sent.fins += message->fins;
	entry->sent.finished = entry->sent.finished || message->kind == MESSAGE_FINISHED;
	if (message->kind == MESSAGE_ERROR) {
		entry->sent.error_code = message->error_code;
		entry->sent.error_type = message->error_type;
	} else {
		entry->sent.final_audio_proc_ms = message->final_ms;
		entry->sent.total_audio_proc_ms = message->total_ms;
	}
	if (message->final_text != NULL) {
		size_t more = strlen(message->final_text);
		char *text = realloc(entry->sent.text, entry->sent.text_bytes + more + 1);
		if (text == NULL)
			abort();
		memcpy(text + entry->sent.text_bytes, message->final_text, more + 1);
		entry->sent.text = text;
		entry->sent.text_bytes += more;
	}
	journal_unlock();
}

static void close_with(struct conn *conn, uint32_t code)
{
	uint8_t payload[2];
	put_be16(payload, (uint16_t)code);
	journal_lock();
	conn->entry->sent.close_code = code;
	journal_unlock();
	conn_put(conn, FRAME_CLOSE, payload, sizeof(payload));
}

static void out(struct conn *conn, const struct outgoing *outgoing)
{
	const struct message *message = &outgoing->message;
	if (outgoing->end) {
		close_with(conn, 1000);
		conn->ended = conn->ended != NULL ? conn->ended : "server";
		return;
	}
	if (conn->no_finished && message->kind == MESSAGE_FINISHED)
		return;
	for (int i = 0; i < (conn->duplicate && message->finals > 0 ? 2 : 1); i++)
		conn_put(conn, FRAME_TEXT, message->text, message->bytes);
	if (conn->ended == NULL)
		note_sent(conn->entry, message);
}

static void flush(struct conn *conn)
{
	uint64_t now = tick_ms();
	while (conn->first != NULL && conn->first->due <= now && conn->ended == NULL) {
		struct outgoing *outgoing = conn->first;
		if (now < conn->muted_until && !outgoing->end)
			return;
		conn->first = outgoing->next;
		if (conn->first == NULL)
			conn->last = &conn->first;
		out(conn, outgoing);
		outgoing_free(outgoing);
	}
}

// ---- in

static void on_frame(struct conn *conn, const struct frame *frame)
{
	journal_lock();
	conn->entry->received.pings += frame->opcode == FRAME_PING;
	conn->entry->received.pongs += frame->opcode == FRAME_PONG;
	if (frame->opcode == FRAME_CLOSE)
		conn->entry->received.close_code = frame->bytes >= 2 ? get_be16(frame->data) : 1005;
	journal_unlock();
	if (frame->opcode == FRAME_PING) {
		conn_put(conn, FRAME_PONG, frame->data, frame->bytes);
	} else if (frame->opcode == FRAME_CLOSE) {
		conn_put(conn, FRAME_CLOSE, frame->data, MIN_OF(frame->bytes, (size_t)2));
		conn->ended = "client";
	} else if (frame->opcode == FRAME_TEXT && !conn->deaf) {
		session_text(conn->session, (const char *)frame->data, frame->bytes);
	} else if (frame->opcode == FRAME_BINARY && !conn->deaf) {
		session_binary(conn->session, frame->data, frame->bytes);
	}
}

// What was sent may itself be the moment of a fault.
static void act_and_flush(struct conn *conn)
{
	conn_act(conn);
	flush(conn);
	conn_act(conn);
	flush(conn);
}

// Takes the whole messages among the bytes read; a stall leaves them where they are.
static void take_frames(struct conn *conn)
{
	struct frame frame;
	int status = 0;
	while (conn->ended == NULL && tick_ms() >= conn->stalled_until &&
		(status = frames_next(&conn->frames, &frame)) > 0) {
		on_frame(conn, &frame);
		act_and_flush(conn);
	}
	if (status < 0 && conn->ended == NULL) {
		close_with(conn, (uint32_t)-status);
		conn->ended = "server";
	}
}

// How much may be read now: what a slow reader has not used up.
static size_t allowance(struct conn *conn, uint64_t now, size_t most)
{
	if (now >= conn->slow_until)
		return most;
	uint64_t all = (now - conn->slow_from) * conn->bytes_per_s / 1000;
	return all <= conn->slow_bytes ? 0 : MIN_OF(most, (size_t)(all - conn->slow_bytes));
}

static void read_some(struct conn *conn)
{
	uint8_t data[32768];
	uint64_t now = tick_ms();
	size_t most = allowance(conn, now, sizeof(data));
	if (most == 0)
		return;
	if (conn->slow_until != 0 && now >= conn->slow_until) {
		setsockopt(conn->link.fd, SOL_SOCKET, SO_RCVBUF, &(int){QUICK_BYTES}, sizeof(int));
		conn->slow_until = 0;
	}
	ssize_t got = link_read(&conn->link, data, most);
	if (got == -EAGAIN)
		return;
	if (got <= 0) {
		conn->ended = got == 0 ? "lost" : "reset";
		return;
	}
	if (now < conn->slow_until)
		conn->slow_bytes += (uint64_t)got;
	frames_put(&conn->frames, data, (size_t)got);
	take_frames(conn);
}

// ---- the loop

static uint64_t next_due(struct conn *conn, uint64_t now)
{
	uint64_t due = conn_fault_due(conn);
	if (now < conn->stalled_until)
		return MIN_OF(due, conn->stalled_until);
	if (conn->first != NULL && now < conn->muted_until)
		due = MIN_OF(due, MAX_OF(conn->muted_until, conn->first->due));
	else if (conn->first != NULL)
		due = MIN_OF(due, conn->first->due);
	if (!conn->deaf)
		due = MIN_OF(due, session_tick(conn->session));
	if (now < conn->slow_until)
		due = MIN_OF(due, now + 20);
	return due;
}

static void turn(struct conn *conn)
{
	uint64_t now = tick_ms();
	bool stalled = now < conn->stalled_until;
	enum link_watch watch = stalled ? LINK_HANGUP : allowance(conn, now, 1) > 0 ? LINK_BYTES : LINK_NOTHING;
	if (link_wait(&conn->link, watch, tick_poll_ms(next_due(conn, now)))) {
		conn->ended = "lost";
		return;
	}
	conn->fault_count += faults_take(conn->entry->id, FAULT_LIVING, conn->faults + conn->fault_count,
		CONN_FAULTS_MAX - conn->fault_count);
	conn_act(conn);
	if (tick_ms() < conn->stalled_until || conn->ended != NULL)
		return;
	if (!conn->deaf)
		session_tick(conn->session);
	act_and_flush(conn);
	take_frames(conn);
	if (conn->ended == NULL && tick_ms() >= conn->stalled_until)
		read_some(conn);
}

// The peer's answer to our close frame. True when it came.
static bool heard_close(struct conn *conn, const uint8_t *data, size_t bytes)
{
	struct frame frame;
	int status;
	frames_put(&conn->frames, data, bytes);
	while ((status = frames_next(&conn->frames, &frame)) > 0) {
		if (frame.opcode != FRAME_CLOSE)
			continue;
		journal_lock();
		conn->entry->received.close_code = frame.bytes >= 2 ? get_be16(frame.data) : 1005;
		journal_unlock();
		return true;
	}
	return status < 0;
}

// The peer shall get what was sent before the end: closing over bytes that nobody read would reset the connection.
static void linger(struct conn *conn)
{
	uint8_t data[4096];
	uint64_t until = clock_mono_ns() + LINGER_MS * 1000000ull;
	while (clock_mono_ns() < until && !server_stopping()) {
		ssize_t got = link_read(&conn->link, data, sizeof(data));
		if (got == 0 || (got < 0 && got != -EAGAIN) || (got > 0 && heard_close(conn, data, (size_t)got)))
			return;
		if (got < 0)
			(void)link_wait(&conn->link, LINK_BYTES, 50);
	}
}

static void on_send(void *arg, uint32_t after_ms, struct message message)
{
	conn_send(arg, after_ms, message);
}

static void on_end(void *arg, uint32_t after_ms)
{
	conn_end(arg, after_ms);
}

// The browser's way: two entries, the second is the key. Returns it, or NULL.
static const char *protocol_key(char *protocols)
{
	const char *mark = "soniox-api-key";
	char *rest = protocols, *name = strsep(&rest, ",");
	name += strspn(name, " ");
	if (strcmp(name, mark) != 0 || rest == NULL)
		return NULL;
	char *key = strsep(&rest, ",");
	key += strspn(key, " ");
	key[strcspn(key, " ")] = '\0';
	return key;
}

static void shake_hands(struct conn *conn, const struct http_head *head, bool protocol)
{
	char accept[64], answer[512];
	http_accept(head->key, accept);
	int bytes = snprintf(answer, sizeof(answer),
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
		accept, protocol ? "Sec-WebSocket-Protocol: soniox-api-key\r\n" : "");
	if (link_write(&conn->link, answer, (size_t)bytes, WRITE_LIMIT_MS) < 0)
		conn->ended = "lost";
}

static void talk(struct conn *conn, struct http_head *head, const char *rest, size_t rest_bytes)
{
	const char *key = protocol_key(head->protocols);
	bool header = strncmp(head->authorization, "Bearer ", 7) == 0;
	struct session_out to = {on_send, on_end, conn};
	conn->entry = journal_open(tick_ms());
	conn->fault_count = faults_take(conn->entry->id, FAULT_ARRIVING, conn->faults, CONN_FAULTS_MAX);
	conn_act(conn);
	while (conn->ended == NULL && !server_stopping() && tick_ms() < conn->stalled_until)
		if (link_wait(&conn->link, LINK_HANGUP, tick_poll_ms(conn->stalled_until)))
			conn->ended = "lost";
	if (conn->ended == NULL)
		shake_hands(conn, head, key != NULL);
	if (conn->ended == NULL)
		conn->session = session_create(header ? head->authorization + 7 : NULL, key, conn->entry, &to);
	if (conn->ended == NULL) {
		conn_act(conn);
		frames_put(&conn->frames, (const uint8_t *)rest, rest_bytes);
		take_frames(conn);
	}
	while (conn->ended == NULL && !server_stopping())
		turn(conn);
	if (conn->ended != NULL && strcmp(conn->ended, "server") == 0)
		linger(conn);
	session_destroy(conn->session);
	frames_free(&conn->frames);
	while (conn->first != NULL) {
		struct outgoing *outgoing = conn->first;
		conn->first = outgoing->next;
		outgoing_free(outgoing);
	}
	for (size_t i = 0; i < conn->fault_count; i++)
		free(conn->faults[i].text);
	journal_close(conn->entry, conn->ended == NULL ? "stopped" : conn->ended, tick_ms());
}

// ---- HTTP

static void answer_http(struct conn *conn, const struct http_head *head, const char *body, size_t bytes)
{
	struct verbs_answer answer = verbs_answer(head, body, bytes);
	char text[256];
	int count = snprintf(text, sizeof(text),
		"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
		answer.status, answer.status < 300 ? "OK" : "Error", strlen(answer.text));
	if (link_write(&conn->link, text, (size_t)count, WRITE_LIMIT_MS) == 0)
		(void)link_write(&conn->link, answer.text, strlen(answer.text), WRITE_LIMIT_MS);
	free(answer.text);
}

// Reads until `wanted` bytes of a request are there, or its head is complete. Returns the status of the head.
static int read_request(struct conn *conn, size_t *used, struct http_head *head)
{
	uint64_t until = clock_mono_ns() + HEAD_LIMIT_MS * 1000000ull;
	for (;;) {
		int status = http_head_parse(conn->input, *used, head);
		if (status < 0 || (status > 0 && (head->upgrade || head->content_bytes > BODY_MAX ||
							 *used >= head->head_bytes + head->content_bytes)))
			return status;
		if (*used == HEAD_MAX + BODY_MAX || (status == 0 && *used >= HEAD_MAX) || clock_mono_ns() > until ||
			server_stopping())
			return -ETIMEDOUT;
		ssize_t got = link_read(&conn->link, conn->input + *used, HEAD_MAX + BODY_MAX - *used);
		if (got > 0)
			*used += (size_t)got;
		else if (got != -EAGAIN)
			return -ECONNRESET;
		else
			(void)link_wait(&conn->link, LINK_BYTES, 1000);
	}
}

void conn_serve(struct conn *conn, bool public)
{
	struct http_head head;
	size_t used = 0;
	struct fault refuse;
	conn->last = &conn->first;
	conn->input = malloc(HEAD_MAX + BODY_MAX);
	if (conn->input == NULL)
		abort();
	conn->reset = public && faults_take(0, FAULT_ACCEPTED, &refuse, 1) > 0;
	int status = conn->reset ? -ECONNRESET : read_request(conn, &used, &head);
	if (status > 0 && head.upgrade && strcmp(head.path, "/transcribe-websocket") == 0)
		talk(conn, &head, conn->input + head.head_bytes, used - head.head_bytes);
	else if (status > 0 && head.content_bytes <= BODY_MAX)
		answer_http(conn, &head, conn->input + head.head_bytes, head.content_bytes);
	else if (status != -ECONNRESET)
		(void)link_write(&conn->link, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 66,
			WRITE_LIMIT_MS);
	free(conn->input);
}
