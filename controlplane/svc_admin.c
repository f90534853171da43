// SPDX-License-Identifier: ISC
//
// svc_admin.c - relay.v1.Admin: what an operator sees.
//
// Control only copies what it knows; the answers are put together and packed on the call's worker.
//
// Runs on: io (the call's worker) but for the functions named _on_control.

#include "controlplane/svc_admin.h"

#include <stdlib.h>
#include <unistd.h>

#include "controlplane/latency.h"
#include "controlplane/request.h"
#include "controlplane/svc_admin_pack.h"
#include "controlplane/svc_backend.h"
#include "controlplane/svc_bridge.h"

// One question on its way over control.
struct query {
	struct control_work start;
	struct call_mail mail;
	struct call_worker *worker;
	struct call *call;
	void (*work)(struct query *query);
	void (*answer)(struct query *query);
	char user_id[REQUEST_USER_ID_MAX + 1];
	struct admin_facts facts;
	struct slot_status *statuses;
	size_t status_count, status_size;
	struct swap_record *swaps;
	size_t swap_count, swap_limit;
	bool short_of_memory;
};

static void query_free(struct query *query)
{
	free(query->statuses);
	free(query->swaps);
	free(query);
}

static void query_mail(struct call_mail *mail)
{
	ENTERS(io_role);
	struct query *query = CONTAINER_OF(mail, struct query, mail);
	if (query->short_of_memory)
		call_finish(query->call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
	else
		query->answer(query);
	call_unref(query->call);
	query_free(query);
}

static void query_discard(struct call_mail *mail)
{
	query_free(CONTAINER_OF(mail, struct query, mail));
}

static void query_on_control(void *arg)
{
	struct query *query = arg;
	if (atomic_load(&call_stopped)) {
		query_free(query);
		return;
	}
	query->work(query);
	call_mail_send(query->worker, &query->mail);
}

static void query_limited(struct call *call, const char *user_id, size_t limit, void (*work)(struct query *),
	void (*answer)(struct query *)) RUNS_ON(io_role);
static void query_limited(struct call *call, const char *user_id, size_t limit, void (*work)(struct query *),
	void (*answer)(struct query *))
{
	struct query *query = calloc(1, sizeof(*query));
	if (query == NULL) {
		call_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	query->mail.fn = query_mail;
	query->mail.discard = query_discard;
	query->worker = call->worker;
	query->call = call;
	query->work = work;
	query->answer = answer;
	query->swap_limit = limit;
	snprintf(query->user_id, sizeof(query->user_id), "%s", user_id);
	call_ref(call);
	svc_backend.post(&query->start, query_on_control, query);
}

static void query_start(struct call *call, const char *user_id, void (*work)(struct query *), void (*answer)(struct query *))
	RUNS_ON(io_role);
static void query_start(struct call *call, const char *user_id, void (*work)(struct query *), void (*answer)(struct query *))
{
	query_limited(call, user_id, 0, work, answer);
}

static void no_request(struct call *call)
{
	ENTERS(io_role);
	if (!call->heard)
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "the request has no message");
}

// ---- GetVersion

static void get_version(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	Relay__V1__Version version = RELAY__V1__VERSION__INIT;
	char text[] = RELAY_VERSION, compiler[] = __VERSION__;
	version.version = text;
	version.grpc = (char *)(uintptr_t)grpc_version_string();
	version.protobuf_c = (char *)(uintptr_t)protobuf_c_version();
	version.compiler = compiler;
	call_answer(call, &version.base);
}

// ---- GetStatus, ListDrops

static void facts_on_control(struct query *query)
{
	ENTERS(control_role);
	svc_backend.totals(&query->facts.totals);
	svc_backend.info(&query->facts.info);
	svc_backend.swap_totals(&query->facts.swaps);
	drop_watch_now(&query->facts.watch);
}

static void status_answer(struct query *query)
{
	ENTERS(io_role);
	struct admin_facts *facts = &query->facts;
	latency_summary(&latency_grpc, &facts->latency);
	grpc_listen_stats(&facts->listen);
	facts->calls = atomic_load(&call_stats.calls);
	facts->streams = atomic_load(&call_stats.streams);
	facts->calls_total = atomic_load(&call_stats.calls_total);
	facts->calls_refused = atomic_load(&call_stats.calls_refused);
	facts->calls_silent = atomic_load(&call_stats.calls_silent);
	facts->messages_sent = atomic_load(&call_stats.messages_sent);
	facts->frames_sent = atomic_load(&call_stats.frames_sent);
	facts->frames_in_flight_lost = atomic_load(&call_stats.frames_in_flight_lost);
	facts->draining = atomic_load(&call_draining) || facts->totals.draining;
	facts->uptime_s = svc_bridge_uptime_s();
	facts->control_lag_max_us = svc_backend.control_lag_max_us();
	struct admin_status_page *page = admin_pack_status(facts);
	if (page == NULL)
		call_finish(query->call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
	else
		call_answer(query->call, &page->status.base);
	free(page);
}

static void get_status(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	query_start(call, "", facts_on_control, status_answer);
}

static void drops_answer(struct query *query)
{
	ENTERS(io_role);
	struct admin_drops_page page;
	admin_pack_drops(query->facts.info.drops, false, &page);
	Relay__V1__ListDropsResponse response = RELAY__V1__LIST_DROPS_RESPONSE__INIT;
	response.n_drops = page.count;
	response.drops = page.pointers;
	call_answer(query->call, &response.base);
}

static void list_drops(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	query_start(call, "", facts_on_control, drops_answer);
}

// ---- ListSessions, GetSession

static void collect(const struct slot_status *status, void *arg)
{
	struct query *query = arg;
	if (query->status_count == query->status_size) {
		size_t size = query->status_size > 0 ? query->status_size * 2 : 64;
		struct slot_status *statuses = realloc(query->statuses, size * sizeof(*statuses));
		if (statuses == NULL) {
			query->short_of_memory = true;
			return;
		}
		query->statuses = statuses;
		query->status_size = size;
	}
	query->statuses[query->status_count++] = *status;
}

static void sessions_on_control(struct query *query)
{
	svc_backend.each(collect, query);
}

static int by_user(const void *a, const void *b)
{
	return strcmp(((const struct slot_status *)a)->user_id, ((const struct slot_status *)b)->user_id);
}

static void sessions_answer(struct query *query)
{
	ENTERS(io_role);
	size_t count = query->status_count;
	struct admin_session_page *pages = calloc(count + 1, sizeof(*pages));
	Relay__V1__Session **pointers = calloc(count + 1, sizeof(Relay__V1__Session *));
	if (pages == NULL || pointers == NULL) {
		call_finish(query->call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
	} else {
		if (count > 0)
			qsort(query->statuses, count, sizeof(query->statuses[0]), by_user);
		for (size_t i = 0; i < count; i++) {
			admin_pack_session(&query->statuses[i], &pages[i]);
			pointers[i] = &pages[i].session;
		}
		Relay__V1__ListSessionsResponse response = RELAY__V1__LIST_SESSIONS_RESPONSE__INIT;
		response.n_sessions = count;
		response.sessions = pointers;
		call_answer(query->call, &response.base);
	}
	free(pages);
	free(pointers);
}

static void list_sessions(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	query_start(call, "", sessions_on_control, sessions_answer);
}

static void session_on_control(struct query *query)
{
	struct slot_status *status = calloc(1, sizeof(*status));
	query->statuses = status;
	query->short_of_memory = status == NULL;
	if (status != NULL)
		svc_backend.status(query->user_id, status);
}

static void session_answer(struct query *query)
{
	ENTERS(io_role);
	if (!query->statuses->exists) {
		call_finish(query->call, GRPC_STATUS_NOT_FOUND, "user %s has no session", query->user_id);
		return;
	}
	struct admin_session_page page;
	admin_pack_session(query->statuses, &page);
	call_answer(query->call, &page.session.base);
}

static void get_session(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	ProtobufCMessage *message;
	struct err err;
	if (request_unpack(&relay__v1__get_session_request__descriptor, data, bytes, &message, &err) < 0) {
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "%s", err.text);
		return;
	}
	query_start(call, ((Relay__V1__GetSessionRequest *)message)->user_id, session_on_control, session_answer);
	protobuf_c_message_free_unpacked(message, NULL);
}

// ---- ListSwaps

static bool collect_swap(const struct swap_record *record, void *arg)
{
	struct query *query = arg;
	query->swaps[query->swap_count++] = *record;
	return query->swap_count < query->swap_limit;
}

static void swaps_on_control(struct query *query)
{
	if (query->swap_limit == 0 || query->swap_limit > SWAP_LOG_SIZE)
		query->swap_limit = SWAP_LOG_SIZE;
	query->swaps = calloc(query->swap_limit, sizeof(*query->swaps));
	query->short_of_memory = query->swaps == NULL;
	if (query->swaps != NULL)
		svc_backend.swaps(query->user_id, collect_swap, query);
}

static void swaps_answer(struct query *query)
{
	ENTERS(io_role);
	Relay__V1__Swap *swaps = calloc(query->swap_count + 1, sizeof(*swaps));
	Relay__V1__Swap **pointers = calloc(query->swap_count + 1, sizeof(Relay__V1__Swap *));
	if (swaps == NULL || pointers == NULL) {
		call_finish(query->call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
	} else {
		for (size_t i = 0; i < query->swap_count; i++) {
			admin_pack_swap(&query->swaps[i], &swaps[i]);
			pointers[i] = &swaps[i];
		}
		Relay__V1__ListSwapsResponse response = RELAY__V1__LIST_SWAPS_RESPONSE__INIT;
		response.n_swaps = query->swap_count;
		response.swaps = pointers;
		call_answer(query->call, &response.base);
	}
	free(swaps);
	free(pointers);
}

static void list_swaps(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	ProtobufCMessage *message;
	struct err err;
	if (request_unpack(&relay__v1__list_swaps_request__descriptor, data, bytes, &message, &err) < 0) {
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "%s", err.text);
		return;
	}
	const Relay__V1__ListSwapsRequest *request = (void *)message;
	query_limited(call, request->user_id, request->limit, swaps_on_control, swaps_answer);
	protobuf_c_message_free_unpacked(message, NULL);
}

#define METHOD(name, wire)                                                                                             \
	const struct call_method svc_admin_##name = {                                                                  \
		.path = "/relay.v1.Admin/" wire, .message = name, .half_closed = no_request}
METHOD(get_version, "GetVersion");
METHOD(get_status, "GetStatus");
METHOD(list_sessions, "ListSessions");
METHOD(get_session, "GetSession");
METHOD(list_drops, "ListDrops");
METHOD(list_swaps, "ListSwaps");
