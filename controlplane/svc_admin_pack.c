// SPDX-License-Identifier: ISC
//
// svc_admin_pack.c - facts of the daemon as messages of relay.v1.
//
// Runs on: any.

#include "controlplane/svc_admin_pack.h"

#include <stdlib.h>
#include <unistd.h>

#define MBUFS_LOW_PERCENT 10
#define LAG_HIGH_US 100000

void admin_pack_drops(const uint64_t counts[static DROP_COUNT], bool only_nonzero, struct admin_drops_page *ret_page)
{
	ret_page->count = 0;
	for (unsigned reason = DROP_NONE + 1; reason < DROP_COUNT; reason++) {
		if (only_nonzero && counts[reason] == 0)
			continue;
		size_t i = ret_page->count++;
		Relay__V1__Drop *drop = &ret_page->drops[i];
		relay__v1__drop__init(drop);
		drop->name = (char *)(uintptr_t)drop_name(reason);
		drop->sentence = (char *)(uintptr_t)drop_sentence(reason);
		drop->count = counts[reason];
		// Sorted as they come: there are a few dozen. Equal counts keep the order of drops.def.
		for (; i > 0 && ret_page->pointers[i - 1]->count < drop->count; i--)
			ret_page->pointers[i] = ret_page->pointers[i - 1];
		ret_page->pointers[i] = drop;
	}
}

static void address_text(uint32_t ip, char *ret_text, size_t size)
{
	snprintf(ret_text, size, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
}

static void endpoint_text(struct endpoint endpoint, char *ret_text, size_t size)
{
	char ip[16];
	address_text(endpoint.ip, ip, sizeof(ip));
	if (endpoint.ip == 0 && endpoint.port == 0)
		ret_text[0] = '\0';
	else
		snprintf(ret_text, size, "%s:%u", ip, endpoint.port);
}

static void pack_ports(struct dataplane_info *info, struct admin_status_page *page)
{
	for (unsigned i = 0; i < MIN_OF(info->port_count, DATAPLANE_PORTS_MAX); i++) {
		struct dataplane_port_info *from = &info->ports[i];
		Relay__V1__Port *port = &page->ports[i];
		relay__v1__port__init(port);
		port->name = from->name;
		port->device = from->device;
		port->mac = from->mac;
		char ip[16];
		address_text(from->address, ip, sizeof(ip));
		snprintf(page->port_addresses[i], sizeof(page->port_addresses[i]), "%s/%u", ip, from->prefix_bits);
		port->address = page->port_addresses[i];
		port->up = from->up;
		port->queues = from->queues;
		port->rx_packets = from->rx_packets;
		port->rx_bytes = from->rx_bytes;
		port->tx_packets = from->tx_packets;
		port->tx_bytes = from->tx_bytes;
		port->rx_missed = from->rx_missed;
		page->port_pointers[page->status.n_ports++] = port;
	}
	page->status.ports = page->port_pointers;
}

static void pack_workers(const struct dataplane_info *info, struct admin_status_page *page)
{
	for (unsigned i = 0; i < MIN_OF(info->worker_count, DATAPLANE_WORKERS_MAX); i++) {
		const struct dataplane_worker_info *from = &info->workers[i];
		Relay__V1__Worker *worker = &page->workers[i];
		relay__v1__worker__init(worker);
		worker->index = i;
		worker->core = from->core;
		worker->load = from->load;
		worker->sessions = from->transports;
		worker->cycles_per_packet = from->cycles_per_packet;
		worker->rx_packets = from->rx_packets;
		worker->tx_packets = from->tx_packets;
		worker->frames = from->frames;
		worker->loops = from->loops;
		worker->idle_sleeps = from->idle_sleeps;
		worker->asleep = from->asleep;
		page->status.frames += from->frames;
		page->worker_pointers[page->status.n_workers++] = worker;
	}
	page->status.workers = page->worker_pointers;
}

static void pack_swap_totals(const struct swap_totals *from, struct admin_status_page *page)
{
	Relay__V1__SwapTotals *swaps = &page->swaps;
	relay__v1__swap_totals__init(swaps);
	swaps->count = from->count;
	swaps->resumes = from->by_kind[SWAP_RESUME];
	swaps->overlaps = from->by_kind[SWAP_OVERLAP];
	swaps->arrivals = from->by_kind[SWAP_ARRIVAL];
	swaps->full_joins = from->by_kind[SWAP_FULL];
	swaps->frames_lost = from->lost;
	swaps->frames_doubled = from->doubled;
	swaps->worst_gap_us = from->worst_gap_us;
	page->status.swaps = swaps;
}

static void pack_totals(const struct slot_totals *from, struct admin_status_page *page)
{
	Relay__V1__Totals *totals = &page->totals;
	relay__v1__totals__init(totals);
	totals->active_sessions = from->active_sessions;
	totals->slots = from->slots;
	totals->joining = from->joining;
	totals->connected = from->connected;
	totals->recovering = from->recovering;
	totals->grace = from->grace;
	totals->lingering = from->lingering;
	totals->streams = from->streams;
	totals->joins = from->joins;
	totals->joins_failed = from->joins_failed;
	totals->joins_superseded = from->joins_superseded;
	totals->swaps = from->swaps;
	totals->leaves = from->leaves;
	totals->draining = from->draining;
	page->status.totals = totals;
}

static void pack_server(const struct admin_facts *facts, struct admin_status_page *page)
{
	Relay__V1__Server *server = &page->server;
	relay__v1__server__init(server);
	server->connections = facts->listen.connections;
	server->calls = facts->calls;
	server->streams = facts->streams;
	server->calls_total = facts->calls_total;
	server->calls_refused = facts->calls_refused;
	server->calls_silent = facts->calls_silent;
	server->connections_total = facts->listen.accepted;
	server->connections_refused = facts->listen.refused;
	server->connections_cut = facts->listen.cut;
	server->messages_sent = facts->messages_sent;
	server->frames_sent = facts->frames_sent;
	server->frames_in_flight_lost = facts->frames_in_flight_lost;
	page->status.grpc = server;
}

__attribute__((format(printf, 2, 3))) static void reason(struct admin_status_page *page, const char *format, ...)
{
	if (page->status.n_reasons == ADMIN_REASONS_MAX)
		return;
	size_t i = page->status.n_reasons++;
	va_list args;
	va_start(args, format);
	vsnprintf(page->reasons[i], sizeof(page->reasons[i]), format, args);
	va_end(args);
	page->reason_pointers[i] = page->reasons[i];
}

static void pack_drop_reasons(const struct drop_watch_view *watch, struct admin_status_page *page)
{
	if (watch->flood_rate > 0)
		reason(page, "a flood: %llu packets a second that are for nobody; most: %s", (unsigned long long)watch->flood_rate,
			drop_sentence(watch->flood_most));
	for (enum drop lost = DROP_NONE + 1; lost < DROP_COUNT; lost++)
		if (watch->lost[lost] > 0)
			reason(page, "%llu packets were lost in the last minute: %s", (unsigned long long)watch->lost[lost],
				drop_sentence(lost));
}

// What an operator should know first.
static void pack_health(const struct admin_facts *facts, struct admin_status_page *page)
{
	const struct dataplane_info *info = &facts->info;
	if (info->port_count == 0)
		reason(page, "no port is configured: no audio can arrive");
	for (unsigned i = 0; i < MIN_OF(info->port_count, DATAPLANE_PORTS_MAX); i++)
		if (!info->ports[i].up)
			reason(page, "port %s is down", info->ports[i].name);
	if (info->mbufs_total > 0 && info->mbufs_free < info->mbufs_total / 100 * MBUFS_LOW_PERCENT)
		reason(page, "packet buffers run out: %u of %u are free", info->mbufs_free, info->mbufs_total);
	for (unsigned i = 0; i < MIN_OF(info->worker_count, DATAPLANE_WORKERS_MAX); i++)
		if (info->workers[i].load > 0.9)
			reason(page, "worker %u on core %u is at %.0f %% load", i, info->workers[i].core,
				info->workers[i].load * 100);
	if (facts->totals.recovering > 0)
		reason(page, "%u of %u sessions are recovering their connection", facts->totals.recovering,
			facts->totals.active_sessions);
	if (facts->control_lag_max_us > LAG_HIGH_US)
		reason(page, "the control thread was once busy for %.1f s", (double)facts->control_lag_max_us / 1e6);
	pack_drop_reasons(&facts->watch, page);
	const char *health = facts->draining ? "draining" : page->status.n_reasons > 0 ? "degraded" : "ok";
	snprintf(page->health, sizeof(page->health), "%s", health);
	page->status.health = page->health;
	page->status.reasons = page->reason_pointers;
}

struct admin_status_page *admin_pack_status(struct admin_facts *facts)
{
	struct admin_status_page *page = calloc(1, sizeof(*page));
	if (page == NULL)
		return NULL;
	Relay__V1__Status *status = &page->status;
	relay__v1__status__init(status);
	snprintf(page->version, sizeof(page->version), "%s", RELAY_VERSION);
	status->version = page->version;
	status->pid = getpid();
	status->uptime_seconds = (int64_t)facts->uptime_s;
	status->started_at_ms = clock_wall_us() / 1000 - (int64_t)facts->uptime_s * 1000;
	status->control_lag_max_us = facts->control_lag_max_us;
	pack_totals(&facts->totals, page);
	pack_swap_totals(&facts->swaps, page);
	relay__v1__latency__init(&page->latency);
	page->latency.count = facts->latency.count;
	page->latency.p50_us = facts->latency.p50_us;
	page->latency.p99_us = facts->latency.p99_us;
	page->latency.max_us = facts->latency.max_us;
	status->latency = &page->latency;
	relay__v1__buffers__init(&page->mbufs);
	page->mbufs.total = facts->info.mbufs_total;
	page->mbufs.free = facts->info.mbufs_free;
	page->mbufs.hugepages = facts->info.hugepages;
	status->mbufs = &page->mbufs;
	pack_ports(&facts->info, page);
	pack_workers(&facts->info, page);
	admin_pack_drops(facts->info.drops, true, &page->drops);
	status->n_drops = page->drops.count;
	status->drops = page->drops.pointers;
	pack_server(facts, page);
	pack_health(facts, page);
	return page;
}

// ---- sessions

static int64_t age_ms(uint64_t then_ns)
{
	uint64_t now_ns = clock_mono_ns();
	return then_ns == 0 ? -1 : now_ns > then_ns ? (int64_t)((now_ns - then_ns) / 1000000) : 0;
}

static void pack_source(const struct source_stats *from, Relay__V1__SourceState *source)
{
	relay__v1__source_state__init(source);
	source->input_is_track = from->input_is_track;
	source->packets = from->packets;
	source->bytes = from->bytes;
	source->lost = from->lost;
	source->repaired_red = from->repaired_red;
	source->repaired_fec = from->repaired_fec;
	source->concealed = from->concealed;
	source->late = from->late;
	source->duplicate = from->duplicate;
	source->reordered = from->reordered;
	source->dtx_frames = from->dtx_frames;
	source->decode_errors = from->decode_errors;
	source->jitter_us = from->jitter_us;
	source->frames = from->frames;
	source->data_packets = from->data_packets;
	source->data_bytes = from->data_bytes;
	source->data_lost = from->data_lost;
	source->data_duplicate = from->data_duplicate;
	source->data_late = from->data_late;
	source->data_reordered = from->data_reordered;
	source->data_resets = from->data_resets;
	source->data_odd_bytes = from->data_odd_bytes;
	source->last_packet_age_ms = age_ms(from->last_packet_ns);
	source->ssrc_changes = from->ssrc_changes;
	source->renumbered = from->renumbered;
	source->mutes = from->mutes;
	source->copies = from->copies;
	source->decoding = from->decoding;
	source->undecoded = from->undecoded;
	source->repaired_nack = from->repaired_nack;
	source->data_concealed = from->data_concealed;
}

static void pack_transport(const struct transport_info *from, struct admin_session_page *page)
{
	static const char *const states[] = {
		[TRANSPORT_NEW] = "new",
		[TRANSPORT_CHECKING] = "checking",
		[TRANSPORT_HANDSHAKING] = "handshaking",
		[TRANSPORT_CONNECTED] = "connected",
		[TRANSPORT_DISCONNECTED] = "disconnected",
		[TRANSPORT_FAILED] = "failed",
	};
	// Numbers of RFC 5764 and RFC 7714.
	static const char *const profiles[] = {
		[1] = "AES128_CM_SHA1_80", [2] = "AES128_CM_SHA1_32", [7] = "AEAD_AES_128_GCM", [8] = "AEAD_AES_256_GCM"};
	Relay__V1__TransportState *transport = &page->transport;
	relay__v1__transport_state__init(transport);
	const char *state = (size_t)from->state < ARRAY_SIZE(states) ? states[from->state] : "unknown";
	const char *profile = from->srtp_profile < ARRAY_SIZE(profiles) ? profiles[from->srtp_profile] : NULL;
	snprintf(page->state, sizeof(page->state), "%s", state);
	snprintf(page->profile, sizeof(page->profile), "%s", profile != NULL ? profile : "");
	endpoint_text(from->local, page->local, sizeof(page->local));
	endpoint_text(from->remote, page->remote, sizeof(page->remote));
	transport->state = page->state;
	transport->srtp_profile = page->profile;
	transport->local = page->local;
	transport->remote = page->remote;
	transport->rtt_us = from->rtt_us;
	transport->consent_age_ms = age_ms(from->consent_ns);
	transport->rx_packets = from->rx_packets;
	transport->rx_bytes = from->rx_bytes;
	transport->tx_packets = from->tx_packets;
	transport->tx_bytes = from->tx_bytes;
	transport->data_open = from->data_open;
	transport->data_holes = from->data_holes;
	transport->worker = from->worker;
	transport->generation = from->generation;
}

void admin_pack_session(struct slot_status *status, struct admin_session_page *ret_page)
{
	Relay__V1__Session *session = &ret_page->session;
	relay__v1__session__init(session);
	session->user_id = status->user_id;
	session->state = status->state;
	session->since_ms = status->since_ms;
	session->connected = status->connected;
	session->generation = status->generation;
	session->room = status->room;
	session->url = status->url;
	session->participant_id = status->participant_id;
	session->participant_count = status->participant_count;
	session->target = status->target;
	session->target_present = status->target_present;
	session->track_subscribed = status->track_subscribed;
	session->track_muted = status->track_muted;
	session->livekit_version = status->server_version;
	session->last_disconnect_at_ms = status->last_disconnect_at_ms;
	session->last_disconnect_reason = status->last_disconnect_reason;
	session->joins = status->joins;
	session->swaps = status->swaps;
	relay__v1__stream_state__init(&ret_page->stream);
	ret_page->stream.attached = status->stream_attached;
	ret_page->stream.ring_head = status->ring_head;
	ret_page->stream.frames = status->stream_frames;
	ret_page->stream.delivered = status->stream_delivered;
	ret_page->stream.lapped = status->stream_lapped;
	ret_page->stream.since_ms = status->stream_since_ms;
	session->stream = &ret_page->stream;
	pack_source(&status->source, &ret_page->source);
	session->source = &ret_page->source;
	pack_transport(&status->transport, ret_page);
	session->transport = &ret_page->transport;
}

// ---- swaps

void admin_pack_swap(struct swap_record *record, Relay__V1__Swap *ret_swap)
{
	relay__v1__swap__init(ret_swap);
	ret_swap->number = record->number;
	ret_swap->user_id = record->user_id;
	ret_swap->room = record->room;
	ret_swap->kind = (char *)(uintptr_t)swap_kind_text(record->kind);
	ret_swap->result = (char *)(uintptr_t)swap_result_text(record->result);
	ret_swap->reason = record->reason;
	ret_swap->cause = record->cause;
	ret_swap->from_generation = record->from_generation;
	ret_swap->generation = record->generation;
	ret_swap->at_ms = record->at_ms;
	ret_swap->signal_us = record->signal_us;
	ret_swap->media_us = record->media_us;
	ret_swap->swap_us = record->swap_us;
	ret_swap->audio_us = record->audio_us;
	ret_swap->frames_before = record->frames_before;
	ret_swap->frames_carried = record->frames_carried;
	ret_swap->frames_lost = record->lost;
	ret_swap->frames_doubled = record->doubled;
	ret_swap->copies = record->copies;
	ret_swap->gap_us = record->gap_us;
	ret_swap->overlap_us = record->overlap_us;
}
