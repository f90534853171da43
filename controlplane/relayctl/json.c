// SPDX-License-Identifier: ISC
//
// json.c - the answers of relayd for programs. Names here are promises: add, never rename.
//
// Runs on: any.

#include "controlplane/relayctl/show.h"

#define INT(value) json_integer((json_int_t)(value))

static void put(json_t *object, const char *name, json_t *value)
{
	json_object_set_new(object, name, value);
}

static json_t *text(const char *value)
{
	json_t *string = json_string(value);
	return string != NULL ? string : json_string("(not UTF-8)");
}

static json_t *latency(const Relay__V1__Latency *from)
{
	json_t *object = json_object();
	put(object, "p50", INT(from != NULL ? from->p50_us : 0));
	put(object, "p99", INT(from != NULL ? from->p99_us : 0));
	put(object, "max", INT(from != NULL ? from->max_us : 0));
	put(object, "count", INT(from != NULL ? from->count : 0));
	return object;
}

static json_t *ports(const Relay__V1__Status *status)
{
	json_t *array = json_array();
	for (size_t i = 0; i < status->n_ports; i++) {
		const Relay__V1__Port *from = status->ports[i];
		json_t *port = json_object();
		put(port, "name", text(from->name));
		put(port, "device", text(from->device));
		put(port, "mac", text(from->mac));
		put(port, "address", text(from->address));
		put(port, "up", json_boolean(from->up));
		put(port, "queues", INT(from->queues));
		put(port, "rx_packets", INT(from->rx_packets));
		put(port, "rx_bytes", INT(from->rx_bytes));
		put(port, "tx_packets", INT(from->tx_packets));
		put(port, "tx_bytes", INT(from->tx_bytes));
		put(port, "rx_missed", INT(from->rx_missed));
		json_array_append_new(array, port);
	}
	return array;
}

static json_t *workers(const Relay__V1__Status *status)
{
	json_t *array = json_array();
	for (size_t i = 0; i < status->n_workers; i++) {
		const Relay__V1__Worker *from = status->workers[i];
		json_t *worker = json_object();
		put(worker, "index", INT(from->index));
		put(worker, "core", INT(from->core));
		put(worker, "load", json_real(from->load));
		put(worker, "sessions", INT(from->sessions));
		put(worker, "cycles_per_packet", INT(from->cycles_per_packet));
		put(worker, "rx_packets", INT(from->rx_packets));
		put(worker, "tx_packets", INT(from->tx_packets));
		put(worker, "frames", INT(from->frames));
		put(worker, "loops", INT(from->loops));
		put(worker, "idle_sleeps", INT(from->idle_sleeps));
		put(worker, "asleep", json_boolean(from->asleep));
		json_array_append_new(array, worker);
	}
	return array;
}

static json_t *drops(Relay__V1__Drop *const *from, size_t count)
{
	json_t *object = json_object();
	for (size_t i = 0; i < count; i++)
		put(object, from[i]->name, INT(from[i]->count));
	return object;
}

static json_t *grpc(const Relay__V1__Server *from)
{
	json_t *object = json_object();
	put(object, "connections", INT(from->connections));
	put(object, "connections_total", INT(from->connections_total));
	put(object, "connections_refused", INT(from->connections_refused));
	put(object, "connections_cut", INT(from->connections_cut));
	put(object, "calls", INT(from->calls));
	put(object, "calls_total", INT(from->calls_total));
	put(object, "calls_refused", INT(from->calls_refused));
	put(object, "calls_silent", INT(from->calls_silent));
	put(object, "streams", INT(from->streams));
	put(object, "messages_sent", INT(from->messages_sent));
	put(object, "frames_sent", INT(from->frames_sent));
	put(object, "frames_in_flight_lost", INT(from->frames_in_flight_lost));
	return object;
}

static void put_totals(json_t *object, const Relay__V1__Totals *from)
{
	put(object, "active_sessions", INT(from->active_sessions));
	put(object, "active_streams", INT(from->streams));
	put(object, "draining", json_boolean(from->draining));
	json_t *sessions = json_object();
	put(sessions, "slots", INT(from->slots));
	put(sessions, "joining", INT(from->joining));
	put(sessions, "connected", INT(from->connected));
	put(sessions, "recovering", INT(from->recovering));
	put(sessions, "grace", INT(from->grace));
	put(sessions, "lingering", INT(from->lingering));
	put(object, "sessions", sessions);
	put(object, "joins", INT(from->joins));
	put(object, "joins_failed", INT(from->joins_failed));
	put(object, "joins_superseded", INT(from->joins_superseded));
	put(object, "swaps", INT(from->swaps));
	put(object, "leaves", INT(from->leaves));
}

static json_t *swap_totals(const Relay__V1__SwapTotals *from);

json_t *json_status(const Relay__V1__Status *status)
{
	static const Relay__V1__Totals no_totals = RELAY__V1__TOTALS__INIT;
	static const Relay__V1__Server no_server = RELAY__V1__SERVER__INIT;
	json_t *object = json_object(), *reasons = json_array(), *mbufs = json_object();
	put(object, "version", text(status->version));
	put(object, "pid", INT(status->pid));
	put(object, "started_at_ms", INT(status->started_at_ms));
	put(object, "uptime_seconds", INT(status->uptime_seconds));
	put(object, "health", text(status->health));
	for (size_t i = 0; i < status->n_reasons; i++)
		json_array_append_new(reasons, text(status->reasons[i]));
	put(object, "reasons", reasons);
	put_totals(object, status->totals != NULL ? status->totals : &no_totals);
	put(object, "frames", INT(status->frames));
	put(object, "latency_us", latency(status->latency));
	put(mbufs, "total", INT(status->mbufs != NULL ? status->mbufs->total : 0));
	put(mbufs, "free", INT(status->mbufs != NULL ? status->mbufs->free : 0));
	put(mbufs, "in_use", INT(status->mbufs != NULL ? status->mbufs->total - status->mbufs->free : 0));
	put(mbufs, "hugepages", json_boolean(status->mbufs != NULL && status->mbufs->hugepages));
	put(object, "mbufs", mbufs);
	put(object, "ports", ports(status));
	put(object, "workers", workers(status));
	put(object, "drops", drops(status->drops, status->n_drops));
	put(object, "grpc", grpc(status->grpc != NULL ? status->grpc : &no_server));
	put(object, "control_lag_max_us", INT(status->control_lag_max_us));
	if (status->swaps != NULL)
		put(object, "swaps", swap_totals(status->swaps));
	return object;
}

static json_t *source(const Relay__V1__SourceState *from)
{
	json_t *object = json_object();
	put(object, "input", text(from->input_is_track ? "track" : "data"));
	put(object, "frames", INT(from->frames));
	put(object, "packets", INT(from->packets));
	put(object, "bytes", INT(from->bytes));
	put(object, "lost", INT(from->lost));
	put(object, "repaired_red", INT(from->repaired_red));
	put(object, "repaired_nack", INT(from->repaired_nack));
	put(object, "repaired_fec", INT(from->repaired_fec));
	put(object, "concealed", INT(from->concealed));
	put(object, "late", INT(from->late));
	put(object, "duplicate", INT(from->duplicate));
	put(object, "reordered", INT(from->reordered));
	put(object, "dtx_frames", INT(from->dtx_frames));
	put(object, "decode_errors", INT(from->decode_errors));
	put(object, "jitter_us", INT(from->jitter_us));
	put(object, "ssrc_changes", INT(from->ssrc_changes));
	put(object, "renumbered", INT(from->renumbered));
	put(object, "mutes", INT(from->mutes));
	put(object, "copies", INT(from->copies));
	put(object, "decoding", json_boolean(from->decoding));
	put(object, "undecoded", INT(from->undecoded));
	put(object, "data_packets", INT(from->data_packets));
	put(object, "data_bytes", INT(from->data_bytes));
	put(object, "data_lost", INT(from->data_lost));
	put(object, "data_duplicate", INT(from->data_duplicate));
	put(object, "data_late", INT(from->data_late));
	put(object, "data_reordered", INT(from->data_reordered));
	put(object, "data_resets", INT(from->data_resets));
	put(object, "data_concealed", INT(from->data_concealed));
	put(object, "data_odd_bytes", INT(from->data_odd_bytes));
	put(object, "last_packet_age_ms", INT(from->last_packet_age_ms));
	return object;
}

static json_t *transport(const Relay__V1__TransportState *from)
{
	json_t *object = json_object();
	put(object, "state", text(from->state));
	put(object, "local", text(from->local));
	put(object, "remote", text(from->remote));
	put(object, "rtt_us", INT(from->rtt_us));
	put(object, "consent_age_ms", INT(from->consent_age_ms));
	put(object, "srtp_profile", text(from->srtp_profile));
	put(object, "rx_packets", INT(from->rx_packets));
	put(object, "rx_bytes", INT(from->rx_bytes));
	put(object, "tx_packets", INT(from->tx_packets));
	put(object, "tx_bytes", INT(from->tx_bytes));
	put(object, "data_open", json_boolean(from->data_open));
	put(object, "data_holes", INT(from->data_holes));
	put(object, "worker", INT(from->worker));
	put(object, "generation", INT(from->generation));
	return object;
}

json_t *json_session(const Relay__V1__Session *session)
{
	json_t *object = json_object();
	put(object, "user_id", text(session->user_id));
	put(object, "state", text(session->state));
	put(object, "since_ms", INT(session->since_ms));
	put(object, "connected", json_boolean(session->connected));
	put(object, "generation", INT(session->generation));
	put(object, "room", text(session->room));
	put(object, "url", text(session->url));
	put(object, "participant_id", text(session->participant_id));
	put(object, "participant_count", INT(session->participant_count));
	put(object, "target", text(session->target));
	put(object, "target_present", json_boolean(session->target_present));
	put(object, "track_subscribed", json_boolean(session->track_subscribed));
	put(object, "track_muted", json_boolean(session->track_muted));
	put(object, "livekit_version", text(session->livekit_version));
	put(object, "last_disconnect_at_ms", INT(session->last_disconnect_at_ms));
	put(object, "last_disconnect_reason", text(session->last_disconnect_reason));
	put(object, "joins", INT(session->joins));
	put(object, "swaps", INT(session->swaps));
	if (session->stream != NULL) {
		json_t *stream = json_object();
		put(stream, "attached", json_boolean(session->stream->attached));
		put(stream, "ring_head", INT(session->stream->ring_head));
		put(stream, "frames", INT(session->stream->frames));
		put(stream, "delivered", INT(session->stream->delivered));
		put(stream, "lapped", INT(session->stream->lapped));
		put(stream, "since_ms", INT(session->stream->since_ms));
		put(object, "stream", stream);
	}
	if (session->source != NULL)
		put(object, "source", source(session->source));
	if (session->transport != NULL)
		put(object, "transport", transport(session->transport));
	return object;
}

json_t *json_sessions(const Relay__V1__ListSessionsResponse *response)
{
	json_t *object = json_object(), *array = json_array();
	for (size_t i = 0; i < response->n_sessions; i++)
		json_array_append_new(array, json_session(response->sessions[i]));
	put(object, "sessions", array);
	return object;
}

static json_t *swap(const Relay__V1__Swap *from)
{
	json_t *object = json_object();
	put(object, "number", INT(from->number));
	put(object, "user_id", text(from->user_id));
	put(object, "room", text(from->room));
	put(object, "kind", text(from->kind));
	put(object, "result", text(from->result));
	put(object, "reason", text(from->reason));
	put(object, "cause", text(from->cause));
	put(object, "from_generation", INT(from->from_generation));
	put(object, "generation", INT(from->generation));
	put(object, "at_ms", INT(from->at_ms));
	put(object, "signal_us", INT(from->signal_us));
	put(object, "media_us", INT(from->media_us));
	put(object, "swap_us", INT(from->swap_us));
	put(object, "audio_us", INT(from->audio_us));
	put(object, "frames_before", INT(from->frames_before));
	put(object, "frames_carried", INT(from->frames_carried));
	put(object, "frames_lost", INT(from->frames_lost));
	put(object, "frames_doubled", INT(from->frames_doubled));
	put(object, "copies", INT(from->copies));
	put(object, "gap_us", INT(from->gap_us));
	put(object, "overlap_us", INT(from->overlap_us));
	return object;
}

static json_t *swaps(const Relay__V1__ListSwapsResponse *response)
{
	json_t *array = json_array();
	for (size_t i = 0; i < response->n_swaps; i++)
		json_array_append_new(array, swap(response->swaps[i]));
	return array;
}

json_t *json_swaps(const Relay__V1__ListSwapsResponse *response)
{
	json_t *object = json_object();
	put(object, "swaps", swaps(response));
	return object;
}

json_t *json_session_swaps(const Relay__V1__Session *session, const Relay__V1__ListSwapsResponse *response)
{
	json_t *object = json_session(session);
	put(object, "recent_swaps", swaps(response));
	return object;
}

static json_t *swap_totals(const Relay__V1__SwapTotals *from)
{
	json_t *object = json_object();
	put(object, "count", INT(from->count));
	put(object, "resumes", INT(from->resumes));
	put(object, "overlaps", INT(from->overlaps));
	put(object, "arrivals", INT(from->arrivals));
	put(object, "full_joins", INT(from->full_joins));
	put(object, "frames_lost", INT(from->frames_lost));
	put(object, "frames_doubled", INT(from->frames_doubled));
	put(object, "worst_gap_us", INT(from->worst_gap_us));
	return object;
}

json_t *json_drops(const Relay__V1__ListDropsResponse *response)
{
	json_t *object = json_object(), *sentences = json_object();
	for (size_t i = 0; i < response->n_drops; i++)
		put(sentences, response->drops[i]->name, text(response->drops[i]->sentence));
	put(object, "drops", drops(response->drops, response->n_drops));
	put(object, "sentences", sentences);
	return object;
}

json_t *json_version(const Relay__V1__Version *version)
{
	json_t *object = json_object();
	put(object, "relayctl", text(RELAY_VERSION));
	put(object, "relayd", version != NULL ? text(version->version) : json_null());
	if (version != NULL) {
		put(object, "grpc", text(version->grpc));
		put(object, "protobuf_c", text(version->protobuf_c));
		put(object, "compiler", text(version->compiler));
	}
	return object;
}
