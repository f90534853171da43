// SPDX-License-Identifier: ISC
//
// verbs.c - what is asked over plain HTTP: the service's own REST calls, and /control for tests.
//
// Runs on: a connection's thread.
#include "tests/soniox/verbs.h"

#include <stdlib.h>

#include "tests/soniox/faults.h"
#include "tests/soniox/journal.h"
#include "tests/soniox/server.h"
#include "tests/soniox/settings.h"
#include "tests/soniox/tick.h"

#define WAIT_LIMIT_MS 10000

struct verb {
	const char *method, *path, *what;
	// Returns the answer, or NULL with `err` filled: 400. Takes no ownership.
	json_t *(*run)(const struct http_head *head, json_t *body, struct err *err);
};

// ---- the service

static json_t *model_json(const char *id, const char *alias)
{
	json_t *languages = json_pack("[{s:s,s:s},{s:s,s:s},{s:s,s:s}]", "code", "en", "name", "English", "code", "de", "name",
		"German", "code", "es", "name", "Spanish");
	return json_pack("{s:s,s:s?,s:s,s:i,s:s,s:o,s:b,s:b,s:b,s:b,s:i,s:[],s:[],s:s,s:s}", "id", id, "aliased_model_id", alias,
		"name", "Speech-to-Text Real-time", "context_version", 2, "transcription_mode", "real_time", "languages",
		languages, "supports_language_hints_strict", true, "supports_max_endpoint_delay", true,
		"supports_endpoint_sensitivity", true, "supports_endpoint_latency_adjustment", true,
		"endpoint_latency_adjustment_max_level", 3, "translation_targets", "two_way_translation_pairs",
		"one_way_translation", "all_languages", "two_way_translation", "all_languages");
}

static json_t *get_models(const struct http_head *head, json_t *body, struct err *err)
{
	return json_pack("{s:[o,o,o]}", "models", model_json("stt-rt-v5", NULL), model_json("stt-rt-v4", NULL),
		model_json("stt-rt-preview", "stt-rt-v5"));
}

static json_t *get_limits(const struct http_head *head, json_t *body, struct err *err)
{
	return limits_json();
}

// ---- control

static json_t *done(void)
{
	return json_pack("{s:b}", "ok", true);
}

static json_t *post_fault(const struct http_head *head, json_t *body, struct err *err)
{
	int64_t id = faults_add(body, err);
	if (id < 0)
		return NULL;
	server_wake();
	return json_pack("{s:I}", "id", (json_int_t)id);
}

static json_t *get_faults(const struct http_head *head, json_t *body, struct err *err)
{
	json_t *known = json_object();
	for (int i = 0; i < FAULT_KINDS; i++)
		json_object_set_new(known, fault_name((enum fault_kind)i), json_string(fault_what((enum fault_kind)i)));
	return json_pack("{s:o,s:o}", "waiting", faults_json(), "known", known);
}

static json_t *delete_faults(const struct http_head *head, json_t *body, struct err *err)
{
	faults_clear();
	return done();
}

// A number of the query ("a=1&b=2"); `missing` when it is not there.
static uint64_t query(const struct http_head *head, const char *name, uint64_t missing)
{
	size_t length = strlen(name);
	for (const char *at = head->query; at != NULL && *at != '\0'; at = strchr(at, '&')) {
		at += *at == '&';
		if (strncmp(at, name, length) == 0 && at[length] == '=')
			return strtoull(at + length + 1, NULL, 10);
	}
	return missing;
}

static json_t *get_log(const struct http_head *head, json_t *body, struct err *err)
{
	return journal_json(query(head, "connection", 0), query(head, "units", 0) != 0, tick_ms());
}

static json_t *delete_log(const struct http_head *head, json_t *body, struct err *err)
{
	journal_forget(false);
	return done();
}

static json_t *get_wait(const struct http_head *head, json_t *body, struct err *err)
{
	struct journal_wait wait = {
		.id = query(head, "connection", 0),
		.opened = query(head, "opened", 0),
		.closed = query(head, "closed", 0),
		.started = query(head, "started", 0),
		.audio_ms = query(head, "audio_ms", 0),
		.finals = query(head, "finals", 0),
		.messages = query(head, "messages", 0),
		.faults = query(head, "faults", 0),
		.fins = query(head, "fins", 0),
		.keepalives = query(head, "keepalives", 0),
		.bytes = query(head, "bytes", 0),
	};
	uint64_t limit_ms = query(head, "limit_ms", WAIT_LIMIT_MS);
	if (!journal_wait(&wait, (uint32_t)MIN_OF(limit_ms, 600000ull))) {
		err_set(err, ETIMEDOUT, "%s did not come within %llu ms", head->query, (unsigned long long)limit_ms);
		return NULL;
	}
	return journal_json(wait.id, false, tick_ms());
}

static json_t *post_clock(const struct http_head *head, json_t *body, struct err *err)
{
	json_t *speed = json_object_get(body, "speed"), *advance = json_object_get(body, "advance_ms");
	if ((speed == NULL && advance == NULL) || (speed != NULL && (!json_is_number(speed) || json_number_value(speed) < 0)) ||
		(advance != NULL && (!json_is_integer(advance) || json_integer_value(advance) < 0))) {
		err_set(err, EINVAL, "`speed` (times real time) or `advance_ms`");
		return NULL;
	}
	if (speed != NULL)
		tick_set_speed(json_number_value(speed));
	if (advance != NULL)
		tick_advance((uint64_t)json_integer_value(advance));
	server_wake();
	return json_pack("{s:I,s:f}", "now_ms", (json_int_t)tick_ms(), "speed", tick_speed());
}

static json_t *get_settings(const struct http_head *head, json_t *body, struct err *err)
{
	return settings_json();
}

static json_t *post_settings(const struct http_head *head, json_t *body, struct err *err)
{
	return settings_change(body, err) < 0 ? NULL : settings_json();
}

static json_t *post_listen(const struct http_head *head, json_t *body, struct err *err)
{
	json_t *open = json_object_get(body, "open");
	if (!json_is_boolean(open)) {
		err_set(err, EINVAL, "`open`: true or false");
		return NULL;
	}
	return server_listen(json_is_true(open), err) < 0 ? NULL : done();
}

static json_t *post_keys(const struct http_head *head, json_t *body, struct err *err)
{
	const char *add = json_string_value(json_object_get(body, "add")),
		   *remove = json_string_value(json_object_get(body, "remove"));
	if (add == NULL && remove == NULL) {
		err_set(err, EINVAL, "`add` or `remove`: a key");
		return NULL;
	}
	if (remove != NULL)
		keys_remove(remove);
	if (add != NULL)
		keys_add(add);
	return done();
}

static json_t *post_reset(const struct http_head *head, json_t *body, struct err *err)
{
	faults_clear();
	settings_reset();
	limits_forget();
	journal_forget(false);
	tick_set_speed(1);
	server_wake();
	return server_listen(true, err) < 0 ? NULL : done();
}

static json_t *get_help(const struct http_head *head, json_t *body, struct err *err);

static const struct verb verbs[] = {
	{"GET", "/v1/models", "the service's models", get_models},
	{"GET", "/v1/concurrency-limits", "the service's limits and what is used of them", get_limits},
	{"GET", "/control", "this list", get_help},
	{"POST", "/control/faults", "do something wrong: see the README", post_fault},
	{"GET", "/control/faults", "what waits, and what is known", get_faults},
	{"DELETE", "/control/faults", "forget what waits", delete_faults},
	{"GET", "/control/log", "what came and went: ?connection=ID", get_log},
	{"DELETE", "/control/log", "forget closed connections", delete_log},
	{"GET", "/control/wait", "wait until counters are reached", get_wait},
	{"POST", "/control/clock", "speed, advance_ms", post_clock},
	{"GET", "/control/settings", "limits and times", get_settings},
	{"POST", "/control/settings", "change some of them", post_settings},
	{"POST", "/control/listen", "open: false refuses connections", post_listen},
	{"POST", "/control/keys", "add, remove", post_keys},
	{"POST", "/control/reset", "as after the start; living connections stay", post_reset},
};

static json_t *get_help(const struct http_head *head, json_t *body, struct err *err)
{
	json_t *list = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		json_array_append_new(list, json_sprintf("%s %s: %s", verbs[i].method, verbs[i].path, verbs[i].what));
	return json_pack("{s:o}", "verbs", list);
}

// ---- dispatch

static struct verbs_answer answer(int status, json_t *object)
{
	char *text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
	json_decref(object);
	if (text == NULL)
		return (struct verbs_answer){500, strdup("{}")};
	return (struct verbs_answer){status, text};
}

// A REST error in the service's form.
static struct verbs_answer refuse(enum failure failure)
{
	char id[37];
	const struct failure_text *text = failure_text(failure);
	failure_request_id(id);
	return answer(text->code, json_pack("{s:i,s:s,s:s,s:[],s:s}", "status_code", text->code, "error_type", text->type,
		"message", text->message, "validation_errors", "request_id", id));
}

struct verbs_answer verbs_answer(const struct http_head *head, const char *body, size_t bytes)
{
	struct err err = {0};
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		const struct verb *verb = &verbs[i];
		if (strcmp(verb->method, head->method) != 0 || strcmp(verb->path, head->path) != 0)
			continue;
		if (strncmp(verb->path, "/v1/", 4) == 0 && strncmp(head->authorization, "Bearer ", 7) != 0)
			return refuse(FAILURE_KEY_MISSING);
		if (strncmp(verb->path, "/v1/", 4) == 0 && !keys_has(head->authorization + 7))
			return refuse(FAILURE_KEY_INVALID);
		json_t *request = bytes > 0 ? json_loadb(body, bytes, 0, NULL) : NULL;
		json_t *reply = NULL;
		if (bytes > 0 && request == NULL)
			err_set(&err, EINVAL, "the body is not JSON");
		else
			reply = verb->run(head, request, &err);
		json_decref(request);
		if (reply != NULL)
			return answer(200, reply);
		return answer(400, json_pack("{s:s}", "error", err.text));
	}
	return answer(404, json_pack("{s:i,s:s,s:s,s:[]}", "status_code", 404, "error_type", "not_found", "message",
		"There is no such thing; GET /control lists what there is", "validation_errors"));
}
