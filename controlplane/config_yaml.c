// SPDX-License-Identifier: ISC
//
// config_yaml.c - the YAML file into C by libcyaml's schema, and where in the file a key stands.
//
// Runs on: init.

#include "controlplane/config_yaml.h"

#include <cyaml/cyaml.h>
#include <stdlib.h>
#include <yaml.h>

#define STRING(type, key) CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER, type, key, 0, 4096)
#define NUMBER(type, key) CYAML_FIELD_UINT_PTR(#key, CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER, type, key)
#define FLAG(type, key) CYAML_FIELD_BOOL_PTR(#key, CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER, type, key)
#define STRINGS(type, key)                                                                                             \
	CYAML_FIELD_SEQUENCE(#key, CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER, type, key, &string_schema, 0, CYAML_UNLIMITED)
#define SECTION(key)                                                                                                   \
	CYAML_FIELD_MAPPING_PTR(#key, CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER, struct config_yaml, key, key##_fields)

typedef __typeof__(*((struct config_yaml *)0)->grpc) grpc_section;
typedef __typeof__(*((struct config_yaml *)0)->admin) admin_section;
typedef __typeof__(*((struct config_yaml *)0)->log) log_section;
typedef __typeof__(*((struct config_yaml *)0)->workers) workers_section;
typedef __typeof__(*((struct config_yaml *)0)->memory) memory_section;
typedef __typeof__(*((struct config_yaml *)0)->livekit) livekit_section;
typedef __typeof__(*((struct config_yaml *)0)->audio) audio_section;
typedef __typeof__(*((struct config_yaml *)0)->soniox) soniox_section;
typedef __typeof__(*((struct config_yaml *)0)->limits) limits_section;

static const cyaml_schema_value_t string_schema = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, 256)};

static const cyaml_schema_field_t grpc_fields[] = {STRING(grpc_section, socket), STRING(grpc_section, socket_mode),
	STRING(grpc_section, socket_group), STRING(grpc_section, tcp), FLAG(grpc_section, insecure_tcp),
	STRING(grpc_section, tls_cert), STRING(grpc_section, tls_key), STRING(grpc_section, tls_client_ca),
	NUMBER(grpc_section, workers), NUMBER(grpc_section, max_connections), NUMBER(grpc_section, max_streams),
	CYAML_FIELD_END};
static const cyaml_schema_field_t admin_fields[] = {STRING(admin_section, socket), CYAML_FIELD_END};
static const cyaml_schema_field_t log_fields[] = {STRING(log_section, level), STRING(log_section, service),
	STRING(log_section, env), STRING(log_section, server), CYAML_FIELD_END};
static const cyaml_schema_field_t port_fields[] = {STRING(struct config_yaml_port, name),
	STRING(struct config_yaml_port, device), STRING(struct config_yaml_port, address),
	STRING(struct config_yaml_port, gateway), NUMBER(struct config_yaml_port, queues),
	STRING(struct config_yaml_port, udp_ports), CYAML_FIELD_END};
static const cyaml_schema_value_t port_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_yaml_port, port_fields)};
static const cyaml_schema_value_t core_schema = {CYAML_VALUE_INT(CYAML_FLAG_DEFAULT, int)};
static const cyaml_schema_field_t workers_fields[] = {
	CYAML_FIELD_SEQUENCE("cores", CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER, workers_section, cores, &core_schema, 0,
		CYAML_UNLIMITED),
	STRING(workers_section, idle), CYAML_FIELD_END};
static const cyaml_schema_field_t memory_fields[] = {
	NUMBER(memory_section, size_mb), FLAG(memory_section, hugepages), CYAML_FIELD_END};
static const cyaml_schema_field_t livekit_fields[] = {STRING(livekit_section, ca_file), CYAML_FIELD_END};
static const cyaml_schema_field_t audio_fields[] = {STRING(audio_section, input), NUMBER(audio_section, ring_ms),
	NUMBER(audio_section, max_wait_ms), NUMBER(audio_section, data_wait_ms),
	FLAG(audio_section, conceal_data), CYAML_FIELD_END};
static const cyaml_schema_field_t soniox_fields[] = {STRING(soniox_section, enabled), STRING(soniox_section, region),
	STRING(soniox_section, url), STRING(soniox_section, key_file), STRING(soniox_section, ca_file),
	STRING(soniox_section, audio), NUMBER(soniox_section, replay_ms), NUMBER(soniox_section, concurrent),
	NUMBER(soniox_section, per_minute), NUMBER(soniox_section, rotate_ms), NUMBER(soniox_section, idle_ms),
	NUMBER(soniox_section, stall_ms), NUMBER(soniox_section, history), FLAG(soniox_section, room_captions),
	STRING(soniox_section, files_dir), STRING(soniox_section, files_format), NUMBER(soniox_section, files_max_kb),
	NUMBER(soniox_section, files_keep),
	STRING(soniox_section, model), STRINGS(soniox_section, language_hints), FLAG(soniox_section, language_hints_strict),
	STRINGS(soniox_section, context_terms), STRING(soniox_section, context_text), FLAG(soniox_section, diarization),
	FLAG(soniox_section, language_identification), FLAG(soniox_section, endpointing),
	NUMBER(soniox_section, max_endpoint_delay_ms), STRING(soniox_section, translate_to),
	STRINGS(soniox_section, translate_between), CYAML_FIELD_END};
static const cyaml_schema_field_t limits_fields[] = {NUMBER(limits_section, join_ms), NUMBER(limits_section, signal_ms),
	NUMBER(limits_section, transport_ms), NUMBER(limits_section, first_frame_ms),
	NUMBER(limits_section, leave_grace_ms), NUMBER(limits_section, slot_linger_ms),
	NUMBER(limits_section, recover_limit_ms), NUMBER(limits_section, max_sessions), CYAML_FIELD_END};

static const cyaml_schema_field_t top_fields[] = {SECTION(grpc), SECTION(admin), SECTION(log),
	CYAML_FIELD_SEQUENCE("ports", CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER, struct config_yaml, ports, &port_schema, 0,
		CYAML_UNLIMITED),
	SECTION(workers), SECTION(memory), SECTION(livekit), SECTION(audio), SECTION(soniox), SECTION(limits), CYAML_FIELD_END};
static const cyaml_schema_value_t top_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct config_yaml, top_fields)};

// libcyaml tells what is wrong in one line and where it was in the next ones.
struct complaint {
	char text[256];
	unsigned line;
};

static void collect(cyaml_log_t level, void *arg, const char *format, va_list args)
{
	struct complaint *complaint = arg;
	char text[256];
	if (level < CYAML_LOG_ERROR)
		return;
	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = '\0';
	const char *at = strstr(text, "line: ");
	if (at != NULL && complaint->line == 0)
		complaint->line = (unsigned)strtoul(at + 6, NULL, 10);
	if (complaint->text[0] == '\0') {
		const char *sentence = strncmp(text, "Load: ", 6) == 0 ? text + 6 : text;
		snprintf(complaint->text, sizeof(complaint->text), "%s", sentence);
	}
}

static cyaml_config_t configuration(struct complaint *complaint)
{
	return (cyaml_config_t){
		.log_level = CYAML_LOG_ERROR, .log_fn = collect, .log_ctx = complaint, .mem_fn = cyaml_mem};
}

int config_yaml_load(const char *file, const char *text, size_t bytes, struct config_yaml **ret_yaml, struct err *err)
{
	struct complaint complaint = {"", 0};
	cyaml_config_t config = configuration(&complaint);
	*ret_yaml = NULL;
	cyaml_err_t code = cyaml_load_data((const uint8_t *)text, bytes, &config, &top_schema, (cyaml_data_t **)ret_yaml, NULL);
	if (code == CYAML_OK)
		return 0;
	return err_set(err, EINVAL, "%s:%u: %s", file, complaint.line ? complaint.line : 1,
		complaint.text[0] ? complaint.text : cyaml_strerror(code));
}

void config_yaml_free(struct config_yaml *yaml)
{
	struct complaint complaint = {"", 0};
	cyaml_config_t config = configuration(&complaint);
	if (yaml != NULL)
		cyaml_free(&config, &top_schema, yaml, 0);
}

// ---- where a key stands

struct search {
	const char *path;
	unsigned line;
	size_t best; // length of the longest prefix of the path that was met
};

static void met(struct search *search, const char *path, unsigned line)
{
	size_t length = strlen(path);
	if (strncmp(search->path, path, length) == 0 && length > search->best &&
		(search->path[length] == '\0' || search->path[length] == '.' || search->path[length] == '[')) {
		search->best = length;
		search->line = line;
	}
}

static void walk(yaml_document_t *document, yaml_node_t *node, const char *path, unsigned depth, struct search *search)
{
	char inner[256];
	if (node == NULL || depth > 8)
		return;
	if (node->type == YAML_MAPPING_NODE) {
		for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
			yaml_node_t *key = yaml_document_get_node(document, pair->key);
			if (key == NULL || key->type != YAML_SCALAR_NODE)
				continue;
			snprintf(inner, sizeof(inner), "%s%s%.100s", path, path[0] ? "." : "", key->data.scalar.value);
			met(search, inner, (unsigned)key->start_mark.line + 1);
			walk(document, yaml_document_get_node(document, pair->value), inner, depth + 1, search);
		}
	} else if (node->type == YAML_SEQUENCE_NODE) {
		unsigned index = 0;
		for (yaml_node_item_t *item = node->data.sequence.items.start; item < node->data.sequence.items.top; item++) {
			yaml_node_t *value = yaml_document_get_node(document, *item);
			snprintf(inner, sizeof(inner), "%s[%u]", path, index++);
			if (value != NULL)
				met(search, inner, (unsigned)value->start_mark.line + 1);
			walk(document, value, inner, depth + 1, search);
		}
	}
}

unsigned config_yaml_line(const char *text, size_t bytes, const char *path)
{
	struct search search = {.path = path, .line = 1};
	yaml_parser_t parser;
	yaml_document_t document;
	if (!yaml_parser_initialize(&parser))
		return 1;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
	if (yaml_parser_load(&parser, &document)) {
		walk(&document, yaml_document_get_root_node(&document), "", 0, &search);
		yaml_document_delete(&document);
	}
	yaml_parser_delete(&parser);
	return search.line;
}
