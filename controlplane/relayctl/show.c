// SPDX-License-Identifier: ISC
//
// show.c - the answers of relayd for people: what is wrong first, then numbers in columns.
//
// Runs on: any.

#include "controlplane/relayctl/show.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/relayctl/table.h"

#define TOP_DROPS 8

#define BUFFER(name) char name[TEXT_BYTES]

static int64_t seconds_since(int64_t unix_ms)
{
	return unix_ms == 0 ? 0 : (int64_t)time(NULL) - unix_ms / 1000;
}

static void drops_table(Relay__V1__Drop *const *drops, size_t count)
{
	static const char *const heads[] = {"DROPPED FOR", ">COUNT", "WHICH MEANS"};
	struct table *table = table_create(heads, 3);
	for (size_t i = 0; i < count; i++) {
		BUFFER(number);
		table_cell(table, "%s", drops[i]->name);
		table_cell(table, "%s", text_count(drops[i]->count, number));
		table_cell(table, "%s", drops[i]->sentence);
	}
	table_print(table);
	table_free(table);
}

static void ports_table(const Relay__V1__Status *status)
{
	static const char *const heads[] = {
		"PORT", "DEVICE", "ADDRESS", "LINK", ">QUEUES", ">RX PACKETS", ">TX PACKETS", ">MISSED"};
	struct table *table = table_create(heads, 8);
	for (size_t i = 0; i < status->n_ports; i++) {
		const Relay__V1__Port *port = status->ports[i];
		BUFFER(rx);
		BUFFER(tx);
		BUFFER(missed);
		table_cell(table, "%s", port->name);
		table_cell(table, "%s", port->device);
		table_cell(table, "%s", port->address);
		table_cell(table, "%s", port->up ? "up" : "DOWN");
		table_cell(table, "%u", port->queues);
		table_cell(table, "%s", text_count(port->rx_packets, rx));
		table_cell(table, "%s", text_count(port->tx_packets, tx));
		table_cell(table, "%s", text_count(port->rx_missed, missed));
	}
	table_print(table);
	table_free(table);
}

static void workers_table(const Relay__V1__Status *status)
{
	static const char *const heads[] = {"WORKER", ">CORE", ">LOAD", ">SESSIONS", ">CYCLES/PACKET", ">RX PACKETS",
		">TX PACKETS", ">FRAMES", "NOW"};
	struct table *table = table_create(heads, 9);
	for (size_t i = 0; i < status->n_workers; i++) {
		const Relay__V1__Worker *worker = status->workers[i];
		BUFFER(rx);
		BUFFER(tx);
		BUFFER(frames);
		table_cell(table, "%u", worker->index);
		table_cell(table, "%u", worker->core);
		table_cell(table, "%.0f %%", worker->load * 100);
		table_cell(table, "%u", worker->sessions);
		table_cell(table, "%llu", (unsigned long long)worker->cycles_per_packet);
		table_cell(table, "%s", text_count(worker->rx_packets, rx));
		table_cell(table, "%s", text_count(worker->tx_packets, tx));
		table_cell(table, "%s", text_count(worker->frames, frames));
		table_cell(table, "%s", worker->asleep ? "asleep" : "awake");
	}
	table_print(table);
	table_free(table);
}

static void status_head(const Relay__V1__Status *status)
{
	BUFFER(uptime);
	const char *colour = strcmp(status->health, "ok") == 0 ? "32;1" : strcmp(status->health, "degraded") == 0 ? "31;1" : "33;1";
	printf("relayd %s   up %s   pid %lld   %s%s%s\n", status->version, text_span(status->uptime_seconds, uptime),
		(long long)status->pid, text_style(colour), status->health, text_style("0"));
	for (size_t i = 0; i < status->n_reasons; i++)
		printf("  ! %s\n", status->reasons[i]);
}

static void status_numbers(const Relay__V1__Status *status)
{
	BUFFER(a);
	BUFFER(b);
	BUFFER(c);
	BUFFER(d);
	BUFFER(e);
	BUFFER(f);
	const Relay__V1__Totals *t = status->totals;
	if (t != NULL) {
		printf("sessions  %u active: %u connected, %u recovering; %u joining, %u leaving, %u lingering\n", t->active_sessions,
			t->connected, t->recovering, t->joining, t->grace, t->lingering);
		printf("joins     %s, of which %s failed and %s were superseded; %s swaps; %s leaves\n", text_count(t->joins, a),
			text_count(t->joins_failed, b), text_count(t->joins_superseded, c), text_count(t->swaps, d),
			text_count(t->leaves, e));
	}
	const Relay__V1__SwapTotals *w = status->swaps;
	if (w != NULL && w->count > 0)
		printf("swaps     %s: %s resumed, %s overlapped, %s elsewhere, %s joined anew; %llu frames lost, %llu doubled, worst gap %s\n",
			text_count(w->count, a), text_count(w->resumes, b), text_count(w->overlaps, c), text_count(w->arrivals, d),
			text_count(w->full_joins, e), (unsigned long long)w->frames_lost, (unsigned long long)w->frames_doubled,
			text_us(w->worst_gap_us, f));
	const Relay__V1__Latency *l = status->latency;
	if (l != NULL && l->count > 0)
		printf("latency   p50 %s, p99 %s, max %s from packet to gRPC, over %s frames\n", text_us(l->p50_us, a),
			text_us(l->p99_us, b), text_us(l->max_us, c), text_count(l->count, d));
	else
		printf("latency   no frame was sent yet\n");
	const Relay__V1__Server *g = status->grpc;
	if (g != NULL)
		printf("grpc      %u streams, %u connections; %s frames sent in %s messages\n", t != NULL ? t->streams : g->streams,
			g->connections, text_count(g->frames_sent, a), text_count(g->messages_sent, b));
	if (status->mbufs != NULL && status->mbufs->total > 0)
		printf("buffers   %s of %s free%s\n", text_count(status->mbufs->free, a), text_count(status->mbufs->total, b),
			status->mbufs->hugepages ? ", on huge pages" : "");
	printf("control   longest callback %s\n", text_us(status->control_lag_max_us, a));
}

void show_status(const Relay__V1__Status *status)
{
	status_head(status);
	printf("\n");
	status_numbers(status);
	if (status->n_ports > 0)
		printf("\n");
	ports_table(status);
	if (status->n_workers > 0)
		printf("\n");
	workers_table(status);
	printf("\n");
	if (status->n_drops == 0)
		printf("nothing was dropped\n");
	drops_table(status->drops, status->n_drops < TOP_DROPS ? status->n_drops : TOP_DROPS);
	if (status->n_drops > TOP_DROPS)
		printf("and %zu more reasons: relayctl drops\n", status->n_drops - TOP_DROPS);
}

void show_sessions(const Relay__V1__ListSessionsResponse *response)
{
	static const char *const heads[] = {
		"USER", "STATE", "SINCE", "ROOM", ">GEN", "INPUT", ">FRAMES", ">LOST", "STREAM", "LAST DISCONNECT"};
	struct table *table = table_create(heads, 10);
	for (size_t i = 0; i < response->n_sessions; i++) {
		const Relay__V1__Session *s = response->sessions[i];
		BUFFER(since);
		BUFFER(frames);
		BUFFER(lost);
		bool track = s->source != NULL && s->source->input_is_track;
		table_cell(table, "%s", s->user_id);
		table_cell(table, "%s", s->state);
		table_cell(table, "%s", text_span(seconds_since(s->since_ms), since));
		table_cell(table, "%s", s->room);
		table_cell(table, "%u", s->generation);
		table_cell(table, "%s", s->source == NULL || s->source->frames == 0 ? "-" : track ? "track" : "data");
		table_cell(table, "%s", text_count(s->source != NULL ? s->source->frames : 0, frames));
		table_cell(table, "%s", text_count(s->source != NULL ? s->source->lost + s->source->data_lost : 0, lost));
		table_cell(table, "%s", s->stream != NULL && s->stream->attached ? "yes" : "no");
		table_cell(table, "%s", s->last_disconnect_reason[0] != '\0' ? s->last_disconnect_reason : "-");
	}
	table_print(table);
	table_free(table);
	if (response->n_sessions == 0)
		printf("no sessions\n");
}

static void show_source(const Relay__V1__SourceState *s)
{
	BUFFER(a);
	BUFFER(b);
	BUFFER(c);
	printf("audio         %s frames by %s", text_count(s->frames, a), s->input_is_track ? "track" : "data packets");
	if (s->last_packet_age_ms >= 0)
		printf(", last packet %s ago", text_us((uint64_t)s->last_packet_age_ms * 1000, b));
	printf("\n");
	printf("  track       %s packets (%s), %llu lost, %llu late, %llu duplicate, %llu reordered, jitter %s\n",
		text_count(s->packets, a), text_bytes(s->bytes, c), (unsigned long long)s->lost,
		(unsigned long long)s->late, (unsigned long long)s->duplicate, (unsigned long long)s->reordered,
		text_us(s->jitter_us, b));
	printf("  repair      %llu from RED, %llu by NACK, %llu from FEC, %llu concealed; %llu silent (DTX), %llu undecodable\n",
		(unsigned long long)s->repaired_red, (unsigned long long)s->repaired_nack, (unsigned long long)s->repaired_fec,
		(unsigned long long)s->concealed, (unsigned long long)s->dtx_frames, (unsigned long long)s->decode_errors);
	if (!s->decoding || s->undecoded > 0)
		printf("  decoding    %s, %s packets passed on undecoded\n", s->decoding ? "yes" : "no: nobody wants PCM",
			text_count(s->undecoded, a));
	printf("  data        %s packets (%s), %llu lost (%llu concealed), %llu late, %llu duplicate, %llu reordered, %llu restarts\n",
		text_count(s->data_packets, a), text_bytes(s->data_bytes, b), (unsigned long long)s->data_lost,
		(unsigned long long)s->data_concealed,
		(unsigned long long)s->data_late, (unsigned long long)s->data_duplicate,
		(unsigned long long)s->data_reordered, (unsigned long long)s->data_resets);
}

static void show_transport(const Relay__V1__TransportState *t)
{
	BUFFER(a);
	BUFFER(b);
	printf("transport     %s, %s to %s, worker %u, generation %u\n", t->state, t->local[0] ? t->local : "-",
		t->remote[0] ? t->remote : "-", t->worker, t->generation);
	printf("  keys        %s%s", t->srtp_profile[0] ? t->srtp_profile : "none yet", t->data_open ? ", data channels open" : "");
	if (t->data_holes > 0)
		printf(", %u messages overtaken or sent again", t->data_holes);
	printf("\n");
	if (t->consent_age_ms < 0)
		printf("  consent     never answered\n");
	else
		printf("  consent     answered %s ago, round trip %s\n", text_us((uint64_t)t->consent_age_ms * 1000, a),
			text_us(t->rtt_us, b));
	printf("  packets     %s received, %s sent\n", text_count(t->rx_packets, a), text_count(t->tx_packets, b));
}

void show_session(const Relay__V1__Session *s)
{
	BUFFER(a);
	BUFFER(b);
	printf("%s%s%s   %s%s for %s\n", text_style("1"), s->user_id, text_style("0"), s->state,
		s->connected ? "" : " (not connected)", text_span(seconds_since(s->since_ms), a));
	printf("room          %s at %s, LiveKit %s\n", s->room, s->url, s->livekit_version[0] ? s->livekit_version : "-");
	printf("we are        %s, %u participants, generation %u\n", s->participant_id, s->participant_count, s->generation);
	printf("target        %s, %s, track %s%s\n", s->target[0] ? s->target : "nobody", s->target_present ? "present" : "absent",
		s->track_subscribed ? "subscribed" : "not subscribed", s->track_muted ? ", muted" : "");
	printf("joins         %s, swaps %s\n", text_count(s->joins, a), text_count(s->swaps, b));
	printf("disconnected  %s%s%s\n", text_clock(s->last_disconnect_at_ms, a), s->last_disconnect_reason[0] ? ": " : "",
		s->last_disconnect_reason);
	if (s->stream != NULL)
		printf("stream        %s; ring at %llu, delivered to %llu, %llu lapped\n", s->stream->attached ? "attached" : "none",
			(unsigned long long)s->stream->ring_head, (unsigned long long)s->stream->delivered,
			(unsigned long long)s->stream->lapped);
	if (s->source != NULL)
		show_source(s->source);
	if (s->transport != NULL)
		show_transport(s->transport);
}

void show_swaps(const Relay__V1__ListSwapsResponse *response)
{
	static const char *const heads[] = {">SWAP", "USER", "AGO", "KIND", "RESULT", ">GEN", ">ANSWER", ">AUDIO", ">LOST",
		">DOUBLED", ">GAP", "CAUSE"};
	struct table *table = table_create(heads, 12);
	for (size_t i = 0; i < response->n_swaps; i++) {
		const Relay__V1__Swap *s = response->swaps[i];
		BUFFER(ago);
		BUFFER(answer);
		BUFFER(audio);
		BUFFER(gap);
		bool done = strcmp(s->result, "done") == 0;
		table_cell(table, "%llu", (unsigned long long)s->number);
		table_cell(table, "%s", s->user_id);
		table_cell(table, "%s", text_span(seconds_since(s->at_ms), ago));
		table_cell(table, "%s", s->kind);
		table_cell(table, "%s", s->result);
		table_cell(table, "%u", s->generation);
		table_cell(table, "%s", done ? text_us(s->swap_us, answer) : "-");
		table_cell(table, "%s", s->audio_us > 0 ? text_us(s->audio_us, audio) : "-");
		table_cell(table, "%llu", (unsigned long long)s->frames_lost);
		table_cell(table, "%llu", (unsigned long long)s->frames_doubled);
		table_cell(table, "%s", done ? text_us(s->gap_us, gap) : "-");
		table_cell(table, "%s", s->cause[0] != '\0' ? s->cause : "-");
	}
	table_print(table);
	table_free(table);
	if (response->n_swaps == 0)
		printf("no swaps\n");
}

void show_drops(const Relay__V1__ListDropsResponse *response)
{
	drops_table(response->drops, response->n_drops);
}

void show_version(const Relay__V1__Version *version)
{
	printf("relayctl %s\n", RELAY_VERSION);
	if (version != NULL)
		printf("relayd   %s (gRPC core %s, protobuf-c %s, compiler %s)\n", version->version, version->grpc,
			version->protobuf_c, version->compiler);
}
