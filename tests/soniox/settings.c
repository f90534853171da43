// SPDX-License-Identifier: ISC
//
// settings.c - what the stand-in may be told, and the account's limits.
//
// Runs on: any; one mutex.
#include "tests/soniox/settings.h"

#include <pthread.h>
#include <stdlib.h>

#define MINUTE_MS 60000
#define KEYS_MAX 64
#define REQUESTS_MAX 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct settings settings;
static char keys[KEYS_MAX][256];
static uint32_t open_connections, running_requests;
static uint64_t request_times[REQUESTS_MAX]; // the last ones, a ring
static uint64_t request_count;

static const struct {
	const char *name;
	size_t offset;
} numbers[] = {
	{"concurrent", offsetof(struct settings, concurrent)},
	{"connections", offsetof(struct settings, connections)},
	{"per_minute", offsetof(struct settings, per_minute)},
	{"inactivity_ms", offsetof(struct settings, inactivity_ms)},
	{"start_ms", offsetof(struct settings, start_ms)},
	{"link_ms", offsetof(struct settings, link_ms)},
	{"decode_ms", offsetof(struct settings, decode_ms)},
	{"duration_ms", offsetof(struct settings, duration_ms)},
	{"error_delay_ms", offsetof(struct settings, error_delay_ms)},
	{"finish_delay_ms", offsetof(struct settings, finish_delay_ms)},
	{"close_delay_ms", offsetof(struct settings, close_delay_ms)},
};

void settings_reset(void)
{
	pthread_mutex_lock(&lock);
	const struct recogniser_ops *recogniser = settings.recogniser;
	settings = (struct settings){
		.concurrent = 10,
		.connections = 20,
		.per_minute = 100,
		.inactivity_ms = 20000,
		.start_ms = 20000,
		.link_ms = 600000,
		.decode_ms = 20000,
		.duration_ms = 300 * 60000,
		.error_delay_ms = 110,
		.finish_delay_ms = 120,
		.close_delay_ms = 15,
		.recogniser = recogniser,
	};
	pthread_mutex_unlock(&lock);
}

struct settings settings_get(void)
{
	pthread_mutex_lock(&lock);
	struct settings copy = settings;
	pthread_mutex_unlock(&lock);
	return copy;
}

void settings_set_recogniser(const struct recogniser_ops *recogniser)
{
	pthread_mutex_lock(&lock);
	settings.recogniser = recogniser;
	pthread_mutex_unlock(&lock);
}

static int change_one(struct settings *changed, const char *key, json_t *value, struct err *err)
{
	if (strcmp(key, "refuse_start_key") == 0) {
		if (!json_is_boolean(value))
			return err_set(err, EINVAL, "refuse_start_key: true or false");
		changed->refuse_start_key = json_is_true(value);
		return 0;
	}
	if (strcmp(key, "recogniser") == 0) {
		const char *name = json_string_value(value);
		if (name != NULL && strcmp(name, "scripted") == 0)
			changed->recogniser = &recogniser_scripted;
		else if (name != NULL && strcmp(name, "sphinx") == 0)
			changed->recogniser = &recogniser_sphinx;
		else
			return err_set(err, EINVAL, "recogniser: scripted or sphinx");
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (strcmp(numbers[i].name, key) != 0)
			continue;
		json_int_t number = json_integer_value(value);
		if (!json_is_integer(value) || number < 0 || number > UINT32_MAX)
			return err_set(err, EINVAL, "%s: a whole number", key);
		memcpy((char *)changed + numbers[i].offset, &(uint32_t){(uint32_t)number}, sizeof(uint32_t));
		return 0;
	}
	return err_set(err, EINVAL, "%s: no such setting", key);
}

int settings_change(json_t *changes, struct err *err)
{
	const char *key;
	json_t *value;
	struct settings changed = settings_get();
	if (!json_is_object(changes))
		return err_set(err, EINVAL, "not a JSON object");
	json_object_foreach(changes, key, value) {
		int status = change_one(&changed, key, value, err);
		if (status < 0)
			return status;
	}
	pthread_mutex_lock(&lock);
	settings = changed;
	pthread_mutex_unlock(&lock);
	return 0;
}

json_t *settings_json(void)
{
	struct settings copy = settings_get();
	json_t *object = json_object();
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		uint32_t number;
		memcpy(&number, (char *)&copy + numbers[i].offset, sizeof(number));
		json_object_set_new(object, numbers[i].name, json_integer(number));
	}
	json_object_set_new(object, "refuse_start_key", json_boolean(copy.refuse_start_key));
	json_object_set_new(object, "recogniser", json_string(copy.recogniser->name));
	return object;
}

// ---- keys

void keys_add(const char *key)
{
	if (key[0] == '\0' || keys_has(key))
		return;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < KEYS_MAX; i++) {
		if (keys[i][0] == '\0') {
			snprintf(keys[i], sizeof(keys[i]), "%s", key);
			break;
		}
	}
	pthread_mutex_unlock(&lock);
}

void keys_remove(const char *key)
{
	pthread_mutex_lock(&lock);
	for (int i = 0; i < KEYS_MAX; i++)
		if (strcmp(keys[i], key) == 0)
			keys[i][0] = '\0';
	pthread_mutex_unlock(&lock);
}

bool keys_has(const char *key)
{
	bool found = false;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < KEYS_MAX; i++)
		found = found || (keys[i][0] != '\0' && strcmp(keys[i], key) == 0);
	pthread_mutex_unlock(&lock);
	return found;
}

void keys_clear(void)
{
	pthread_mutex_lock(&lock);
	memset(keys, 0, sizeof(keys));
	pthread_mutex_unlock(&lock);
}

// ---- limits

enum failure limits_connect(void)
{
	pthread_mutex_lock(&lock);
	bool full = open_connections >= settings.connections;
	open_connections += !full;
	pthread_mutex_unlock(&lock);
	return full ? FAILURE_CONNECTIONS : FAILURE_NONE;
}

void limits_disconnect(void)
{
	pthread_mutex_lock(&lock);
	open_connections--;
	pthread_mutex_unlock(&lock);
}

// Requests of the minute before `now_ms`; refused ones count too, as a rate limit that a retry loop cannot outrun.
static uint32_t requests_of_minute(uint64_t now_ms)
{
	uint32_t count = 0;
	for (uint64_t i = request_count; i > 0 && request_count - i < REQUESTS_MAX; i--) {
		if (request_times[(i - 1) % REQUESTS_MAX] + MINUTE_MS <= now_ms)
			break;
		count++;
	}
	return count;
}

enum failure limits_request(uint64_t now_ms)
{
	enum failure failure = FAILURE_NONE;
	pthread_mutex_lock(&lock);
	if (requests_of_minute(now_ms) >= settings.per_minute)
		failure = FAILURE_RATE;
	else if (running_requests >= settings.concurrent)
		failure = FAILURE_CONCURRENT;
	request_times[request_count++ % REQUESTS_MAX] = now_ms;
	running_requests += failure == FAILURE_NONE;
	pthread_mutex_unlock(&lock);
	return failure;
}

void limits_finish(void)
{
	pthread_mutex_lock(&lock);
	running_requests--;
	pthread_mutex_unlock(&lock);
}

void limits_forget(void)
{
	pthread_mutex_lock(&lock);
	request_count = 0;
	pthread_mutex_unlock(&lock);
}

json_t *limits_json(void)
{
	pthread_mutex_lock(&lock);
	json_int_t now = running_requests, most = settings.concurrent;
	pthread_mutex_unlock(&lock);
	json_t *part = json_pack("{s:{s:I,s:i},s:{s:I,s:i}}", "current", "transcribe_concurrent", now, "tts_concurrent", 0,
		"limits", "transcribe_concurrent", most, "tts_concurrent", 0);
	return json_pack("{s:O,s:o}", "project", part, "organization", part);
}
