// SPDX-License-Identifier: ISC
//
// faults.c - what the stand-in was told to do wrong.
//
// Runs on: any; one lock.
#include "tests/soniox/faults.h"

#include <pthread.h>
#include <stdlib.h>

#define WAITING_MAX 256

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fault waiting[WAITING_MAX];
static size_t waiting_count;
static uint64_t last_id;

static const struct {
	const char *name, *what;
} kinds[FAULT_KINDS] = {
#define FAULT(name, word, what) [FAULT_##name] = {word, what},
#include "tests/soniox/faults.def"
#undef FAULT
};

static const char *const whens[] = {"connect", "open", "start", "end"};

const char *fault_name(enum fault_kind kind)
{
	return kinds[kind].name;
}

const char *fault_what(enum fault_kind kind)
{
	return kinds[kind].what;
}

static int read_number(json_t *value, const char *key, uint64_t *ret, struct err *err)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return err_set(err, EINVAL, "%s: a whole number", key);
	*ret = (uint64_t)json_integer_value(value);
	return 0;
}

static int read_when(struct fault *fault, json_t *value, struct err *err)
{
	static const struct {
		const char *key;
		enum fault_when when;
	} measured[] = {{"audio_ms", FAULT_AT_AUDIO}, {"ms", FAULT_AT_TIME}, {"finals", FAULT_AT_FINALS}};
	for (size_t i = 0; i < ARRAY_SIZE(whens); i++) {
		if (json_is_string(value) && strcmp(json_string_value(value), whens[i]) == 0) {
			fault->when = (enum fault_when)i;
			return 0;
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(measured); i++) {
		json_t *number = json_object_get(value, measured[i].key);
		if (number != NULL) {
			fault->when = measured[i].when;
			return read_number(number, measured[i].key, &fault->at, err);
		}
	}
	return err_set(err, EINVAL,
		"at: \"connect\", \"open\", \"start\", \"end\", {\"audio_ms\": N}, {\"ms\": N} or {\"finals\": N}");
}

static int read_failure(struct fault *fault, const char *key, json_t *value, struct err *err)
{
	if (json_is_string(value))
		fault->failure = failure_by_text(json_string_value(value));
	if (fault->failure == FAILURE_NONE)
		return err_set(err, EINVAL, "%s: no such error", key);
	return 0;
}

static int read_key(struct fault *fault, const char *key, json_t *value, struct err *err)
{
	static const struct {
		const char *key;
		size_t offset;
	} small[] = {{"code", offsetof(struct fault, code)}, {"status", offsetof(struct fault, status)},
		{"ms", offsetof(struct fault, ms)}, {"bytes", offsetof(struct fault, bytes)},
		{"bytes_per_s", offsetof(struct fault, bytes_per_s)}},
	  large[] = {{"connection", offsetof(struct fault, connection)}, {"connections", offsetof(struct fault, connections)},
		  {"skip", offsetof(struct fault, skip)}};
	uint64_t number;
	if (strcmp(key, "fault") == 0)
		return 0;
	if (strcmp(key, "at") == 0)
		return read_when(fault, value, err);
	if (strcmp(key, "type") == 0 || strcmp(key, "message") == 0 || strcmp(key, "error") == 0)
		return read_failure(fault, key, value, err);
	if (strcmp(key, "text") == 0 || strcmp(key, "hex") == 0 || strcmp(key, "location") == 0) {
		free(fault->text);
		fault->text = json_is_string(value) ? strdup(json_string_value(value)) : NULL;
		return fault->text != NULL ? 0 : err_set(err, EINVAL, "%s: a text", key);
	}
	for (size_t i = 0; i < ARRAY_SIZE(small); i++) {
		if (strcmp(key, small[i].key) != 0)
			continue;
		int status = read_number(value, key, &number, err);
		if (status == 0 && number > UINT32_MAX)
			return err_set(err, EINVAL, "%s: too large", key);
		if (status == 0)
			memcpy((char *)fault + small[i].offset, &(uint32_t){(uint32_t)number}, sizeof(uint32_t));
		return status;
	}
	for (size_t i = 0; i < ARRAY_SIZE(large); i++) {
		if (strcmp(key, large[i].key) == 0)
			return read_number(value, key, (uint64_t *)((char *)fault + large[i].offset), err);
	}
	return err_set(err, EINVAL, "%s: a fault has no such key", key);
}

// Faults of the handshake act there; those of the end at the end; the others as soon as the connection is open, or at once
// when it already lives.
static enum fault_when usual_when(enum fault_kind kind)
{
	if (kind == FAULT_REFUSE || kind == FAULT_SILENT || kind == FAULT_HTTP)
		return FAULT_AT_CONNECT;
	return FAULT_AT_OPEN;
}

static int read_fault(struct fault *fault, json_t *description, struct err *err)
{
	const char *name = json_string_value(json_object_get(description, "fault")), *key;
	json_t *value;
	if (name == NULL)
		return err_set(err, EINVAL, "fault: a name");
	int kind = 0;
	while (kind < FAULT_KINDS && strcmp(kinds[kind].name, name) != 0)
		kind++;
	if (kind == FAULT_KINDS)
		return err_set(err, EINVAL, "%s: no such fault", name);
	fault->kind = (enum fault_kind)kind;
	fault->when = usual_when(fault->kind);
	fault->connections = 1;
	json_object_foreach(description, key, value) {
		int status = read_key(fault, key, value, err);
		if (status < 0)
			return status;
	}
	if (fault->connections == 0)
		fault->connections = UINT64_MAX;
	if (fault->kind == FAULT_ERROR && fault->failure == FAILURE_NONE)
		fault->failure = failure_by_code((int)fault->code);
	if (fault->kind == FAULT_ERROR && fault->failure == FAILURE_NONE)
		return err_set(err, EINVAL, "error: one of `code`, `type`, `message` or `error`");
	return 0;
}

int64_t faults_add(json_t *description, struct err *err)
{
	struct fault fault = {0};
	int status = read_fault(&fault, description, err);
	pthread_mutex_lock(&lock);
	if (status == 0 && waiting_count == WAITING_MAX)
		status = err_set(err, ENOSPC, "%d faults are waiting already", WAITING_MAX);
	if (status == 0) {
		fault.id = ++last_id;
		waiting[waiting_count++] = fault;
	}
	pthread_mutex_unlock(&lock);
	if (status < 0)
		free(fault.text);
	return status < 0 ? status : (int64_t)fault.id;
}

void faults_clear(void)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < waiting_count; i++)
		free(waiting[i].text);
	waiting_count = 0;
	pthread_mutex_unlock(&lock);
}

json_t *faults_json(void)
{
	json_t *list = json_array();
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < waiting_count; i++)
		json_array_append_new(list, json_pack("{s:I,s:s,s:I,s:I,s:I}", "id", (json_int_t)waiting[i].id, "fault",
			fault_name(waiting[i].kind), "connection", (json_int_t)waiting[i].connection, "connections",
			(json_int_t)waiting[i].connections, "skip", (json_int_t)waiting[i].skip));
	pthread_mutex_unlock(&lock);
	return list;
}

static bool concerns(struct fault *fault, uint64_t id, enum fault_stage stage)
{
	if ((fault->kind == FAULT_REFUSE) != (stage == FAULT_ACCEPTED))
		return false;
	if (fault->connection != 0)
		return fault->connection == id;
	if (stage == FAULT_LIVING)
		return false;
	if (fault->skip > 0) {
		fault->skip--;
		return false;
	}
	return true;
}

size_t faults_take(uint64_t id, enum fault_stage stage, struct fault *ret, size_t size)
{
	size_t taken = 0, kept = 0;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < waiting_count; i++) {
		struct fault *fault = &waiting[i];
		if (taken < size && concerns(fault, id, stage)) {
			ret[taken] = *fault;
			ret[taken].text = fault->text == NULL ? NULL : strdup(fault->text);
			taken++;
			fault->connections = fault->connection != 0 ? 0 : fault->connections - 1;
		}
		if (fault->connections > 0)
			waiting[kept++] = *fault;
		else
			free(fault->text);
	}
	waiting_count = kept;
	pthread_mutex_unlock(&lock);
	return taken;
}
