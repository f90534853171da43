// SPDX-License-Identifier: ISC
//
// conn_faults.c - a connection does what it was told to do wrong.
//
// Runs on: the connection's thread.
#include "tests/soniox/conn.h"

#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "tests/soniox/reply.h"
#include "tests/soniox/tick.h"

#define WRITE_LIMIT_MS 30000
#define BIG_BYTES (10u << 20)
#define DEEP_BYTES 100000

static bool is_due(const struct conn *conn, const struct fault *fault)
{
	const struct entry *entry = conn->entry;
	bool due = false;
	journal_lock();
	switch (fault->when) {
	case FAULT_AT_CONNECT:
		due = true;
		break;
	case FAULT_AT_OPEN:
		due = conn->session != NULL;
		break;
	case FAULT_AT_START:
		due = entry->started_ms != 0;
		break;
	case FAULT_AT_END:
		due = entry->received.ends != 0;
		break;
	case FAULT_AT_AUDIO:
		due = entry->audio_ms >= fault->at && entry->started_ms != 0;
		break;
	case FAULT_AT_TIME:
		due = conn->session != NULL && tick_ms() >= entry->opened_ms + fault->at;
		break;
	case FAULT_AT_FINALS:
		due = entry->sent.finals >= fault->at && entry->started_ms != 0;
		break;
	}
	journal_unlock();
	return due;
}

uint64_t conn_fault_due(const struct conn *conn)
{
	uint64_t due = TICK_NEVER;
	for (size_t i = 0; i < conn->fault_count; i++)
		if (!conn->faults[i].acted && conn->faults[i].when == FAULT_AT_TIME)
			due = MIN_OF(due, conn->entry->opened_ms + conn->faults[i].at);
	return due;
}

static void raw(struct conn *conn, const void *data, size_t bytes)
{
	if (conn->ended == NULL && link_write(&conn->link, data, bytes, WRITE_LIMIT_MS) < 0)
		conn->ended = "lost";
}

static void raw_hex(struct conn *conn, const char *hex)
{
	uint8_t data[4096];
	size_t bytes = 0;
	for (unsigned byte; hex != NULL && bytes < sizeof(data) && sscanf(hex, "%2x", &byte) == 1 && hex[1] != '\0'; hex += 2)
		data[bytes++] = (uint8_t)byte;
	raw(conn, data, bytes);
}

// A text message of `bytes`, made of one repeated byte; as deep JSON of opening brackets.
static void big(struct conn *conn, uint32_t bytes, char byte)
{
	char *text = malloc(bytes + 1);
	if (text == NULL)
		abort();
	memset(text, byte, bytes);
	conn_put(conn, FRAME_TEXT, text, bytes);
	free(text);
}

static void garbage(struct conn *conn, uint32_t bytes)
{
	uint8_t data[4096];
	bytes = MIN_OF(bytes == 0 ? 256 : bytes, (uint32_t)sizeof(data));
	if (getrandom(data, bytes, 0) == (ssize_t)bytes)
		raw(conn, data, bytes);
}

static void http(struct conn *conn, const struct fault *fault)
{
	char answer[1024];
	int bytes = snprintf(answer, sizeof(answer), "HTTP/1.1 %u Fault\r\n%s%s%sContent-Length: 0\r\nConnection: close\r\n\r\n",
		fault->status == 0 ? 503 : fault->status, fault->text == NULL ? "" : "Location: ",
		fault->text == NULL ? "" : fault->text, fault->text == NULL ? "" : "\r\n");
	raw(conn, answer, MIN_OF((size_t)bytes, sizeof(answer) - 1));
	conn->ended = "server"; // linger: it shall be read
}

static void slow_read(struct conn *conn, const struct fault *fault, uint64_t until)
{
	// A small buffer, or the kernel would go on reading for us.
	setsockopt(conn->link.fd, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int));
	conn->slow_from = tick_ms();
	conn->slow_until = until;
	conn->slow_bytes = 0;
	conn->bytes_per_s = fault->bytes_per_s;
}

static void end(struct conn *conn, const char *how, bool reset)
{
	conn->ended = how;
	conn->reset = reset;
}

static void error(struct conn *conn, const struct fault *fault)
{
	conn_drop_end(conn);
	conn_send(conn, 0, reply_error(fault->failure, NULL));
	conn_end(conn, 0);
	conn->deaf = true;
}

static void act_on_frames(struct conn *conn, const struct fault *fault)
{
	static const char not_utf8[] = "{\"tokens\":[{\"text\":\"\xc3\x28\xed\xa0\x80\"}]}",
			  masked[] = "\x81\x82\x01\x02\x03\x04\x7a\x7f", half[] = "\x81\x40{\"tokens\":[{\"text\":\" cut";
	switch (fault->kind) {
	case FAULT_TEXT:
		conn_put(conn, FRAME_TEXT, fault->text == NULL ? "" : fault->text,
			fault->text == NULL ? 0 : strlen(fault->text));
		break;
	case FAULT_RAW:
		raw_hex(conn, fault->text);
		break;
	case FAULT_GARBAGE:
		garbage(conn, fault->bytes);
		break;
	case FAULT_BIG:
		big(conn, fault->bytes == 0 ? BIG_BYTES : fault->bytes, ' ');
		break;
	case FAULT_DEEP:
		big(conn, fault->bytes == 0 ? DEEP_BYTES : fault->bytes, '[');
		break;
	case FAULT_UTF8:
		conn_put(conn, FRAME_TEXT, not_utf8, sizeof(not_utf8) - 1);
		break;
	case FAULT_MASKED:
		raw(conn, masked, sizeof(masked) - 1);
		break;
	case FAULT_CUT:
		raw(conn, half, sizeof(half) - 1);
		end(conn, "fault", true);
		break;
	default:
		break;
	}
}

static void act(struct conn *conn, const struct fault *fault)
{
	uint64_t until = fault->ms == 0 ? TICK_NEVER : tick_ms() + fault->ms;
	switch (fault->kind) {
	case FAULT_ERROR:
		error(conn, fault);
		break;
	case FAULT_SILENT:
	case FAULT_STALL:
		conn->stalled_until = until;
		break;
	case FAULT_MUTE:
		conn->muted_until = until;
		break;
	case FAULT_RESET:
	case FAULT_REFUSE:
		end(conn, "fault", true);
		break;
	case FAULT_DROP:
		end(conn, "fault", false);
		break;
	case FAULT_CLOSE:
		conn_put(conn, FRAME_CLOSE, (uint8_t[]){(uint8_t)((fault->code == 0 ? 1000 : fault->code) >> 8),
			(uint8_t)(fault->code == 0 ? 1000 : fault->code)}, 2);
		end(conn, "server", false);
		break;
	case FAULT_SLOW_READ:
		slow_read(conn, fault, until);
		break;
	case FAULT_LATE:
		conn->late_ms = fault->ms;
		break;
	case FAULT_DUPLICATE:
		conn->duplicate = true;
		break;
	case FAULT_NO_FINISHED:
		conn->no_finished = true;
		break;
	case FAULT_HTTP:
		http(conn, fault);
		break;
	default:
		act_on_frames(conn, fault);
	}
}

void conn_act(struct conn *conn)
{
	for (size_t i = 0; i < conn->fault_count && conn->ended == NULL; i++) {
		struct fault *fault = &conn->faults[i];
		if (fault->acted || !is_due(conn, fault))
			continue;
		fault->acted = true;
		journal_lock();
		json_array_append_new(conn->entry->faults, json_string(fault_name(fault->kind)));
		journal_unlock();
		act(conn, fault);
	}
}
