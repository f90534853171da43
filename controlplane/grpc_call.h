// SPDX-License-Identifier: ISC
//
// grpc_call.h - one RPC on the server, and the app worker it belongs to.
//
// A call is bound to one worker and touched by nobody else: no locks. Whoever else has something to say to it (control)
// sends a mail to the worker. A service is a table of methods.
#pragma once

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>

#include "controlplane/grpc_listen.h"
#include "controlplane/grpc_wake.h"

#define GRPC_WORKERS_MAX GRPC_WAKES_MAX
#define CALL_MESSAGE_BYTES_MAX (1u << 20) // also once decompressed: uplink chunks may be large; everything else is small

struct call;
struct call_worker;
struct stream;

#define CALL_FIRST_MESSAGE_NS 5000000000u // a call that has not said by then what it wants is ended

// What a queue gives back: embedded in its owner.
struct call_tag {
	void (*fn)(struct call_tag *tag, bool ok);
};

// A message to a worker, embedded in its owner.
struct call_mail {
	struct call_mail *next;
	void (*fn)(struct call_mail *mail);      // on the worker
	void (*discard)(struct call_mail *mail); // the worker is gone: on the sender's thread
};

// All of these run on the call's worker (io).
struct call_method {
	const char *path; // "/package.Service/Method"
	bool streaming;   // counts against max_streams, initial metadata goes out at once
	// The client's next message. A streaming method asks for more with call_read.
	void (*message)(struct call *call, const uint8_t *data, size_t bytes);
	// The client sends no more (half-close, or it is gone: then gone follows).
	void (*half_closed)(struct call *call);
	void (*written)(struct call *call, bool ok);
	void (*draining)(struct call *call);
	// The call is over for the peer: cancelled, past its deadline, disconnected, or served. Exactly once.
	void (*gone)(struct call *call);
	void (*destroy)(struct call *call); // last: free call->state
};

struct call {
	struct call_worker *worker;
	struct call_service *service;
	const struct call_method *method; // NULL until known
	void *state;                      // of the method
	struct call *prev, *next;         // of the worker
	bool reading, writing, initial_sent, finished, closed, cancelled;
	bool heard, answered; // a message came; we said something
	// private to grpc_call.c
	struct call *silent_prev, *silent_next; // while its first message is waited for
	uint64_t opened_ns;
	bool silent, holds_call, holds_stream; // the two: of its service's places
	grpc_call *call;
	grpc_call_details details;
	grpc_metadata_array metadata;
	struct call_tag new_tag, close_tag, read_tag, initial_tag, write_tag, status_tag;
	int was_cancelled;
	grpc_byte_buffer *received, *sent;
	grpc_slice status_text;
	struct grpc_conn *conn;
	unsigned refs;
	uint64_t finished_ns;
};

// Places for calls that many connections want. None of them can take all, and there are always some for one that has few.
struct call_places {
	unsigned max;
	_Atomic(unsigned) taken;
};

// One gRPC server: its methods and where they are offered. The bridge and Admin are two.
struct call_service {
	grpc_server *server;
	const struct call_method *const *methods; // NULL ends
	const char *const *names;                 // service names, for health and reflection; NULL ends
	unsigned slots;                           // armed on each worker
	unsigned workers;                         // offered on the first so many
	struct call_places calls, streams;        // its own: whoever fills one server locks nobody out of the other
};

// The rings that a worker's streams read (svc_stream.c), by the place that the rings' writers mark.
struct stream_place {
	struct pcm *pcm;      // NULL: free
	struct stream *first; // usually the only one; two while one takes the other's place
	uint64_t due_ns;      // a look at it is due then, whatever is written
};

struct stream_places {
	_Atomic(uint64_t) marks[PCM_PLACES / 64];
	struct stream_place *list;
	unsigned count, size; // places below count have been used
	uint64_t due_ns;      // of the earliest
};

struct call_worker {
	unsigned index;
	grpc_completion_queue *queue;
	struct grpc_wake wake;
	struct call_tag wake_tag;
	_Atomic(struct call_mail *) inbox;
	struct call *calls OWNED_BY(io_role);
	struct call *silent_first OWNED_BY(io_role), *silent_last OWNED_BY(io_role); // by age
	struct stream_places places OWNED_BY(io_role); // but for the marks
	unsigned finishing OWNED_BY(io_role);     // calls whose status is on its way
	bool seen_draining OWNED_BY(io_role);
	struct {
		struct call_service *service;
		unsigned missing;
	} arms[2] OWNED_BY(io_role);
};

struct call_stats {
	_Atomic(unsigned) calls, streams;
	_Atomic(uint64_t) calls_refused; // no place was free for them
	_Atomic(uint64_t) calls_silent;  // ended because no first message came
	_Atomic(uint64_t) calls_total, messages_sent, frames_sent, frames_in_flight_lost;
};
extern struct call_stats call_stats;
extern _Atomic(bool) call_draining; // health is NOT_SERVING
extern _Atomic(bool) call_stopped;  // control must not follow up on calls any more

// ---- for services, on the call's worker

void call_read(struct call *call) RUNS_ON(io_role);
// Unary: initial metadata, message and status OK in one batch.
void call_answer(struct call *call, const ProtobufCMessage *message) RUNS_ON(io_role);
// Streaming: one message; written() follows. Only while !call->writing. False when the call is over.
bool call_write(struct call *call, const ProtobufCMessage *message) RUNS_ON(io_role);
// End with a status. Later calls of this are ignored.
__attribute__((format(printf, 3, 4))) void call_finish(struct call *call, grpc_status_code code, const char *format, ...)
	RUNS_ON(io_role);
// A value of the request's metadata, "" when there is none. key is in lower case. Returns ret_value.
const char *call_metadata(const struct call *call, const char *key, char *ret_value, size_t size);
// Keep the call while something of it is on control.
void call_ref(struct call *call) RUNS_ON(io_role);
void call_unref(struct call *call) RUNS_ON(io_role);

// Any thread but packet cores.
void call_mail_send(struct call_worker *worker, struct call_mail *mail);

// ---- for grpc_server.c

// Arms the slots and serves until the queue shuts down.
void *call_worker_main(void *worker);
// End every open call UNAVAILABLE. On the worker, by mail.
void call_worker_end_all(struct call_worker *worker, const char *reason) RUNS_ON(io_role);
