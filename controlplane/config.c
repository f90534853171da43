// SPDX-License-Identifier: ISC
//
// config.c - defaults, the YAML file, the old program's environment, and what must hold of them.
//
// Runs on: init.

#include "controlplane/config.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "controlplane/config_soniox.h"
#include "controlplane/config_yaml.h"
#include "dataplane/source.h"

#define FILE_BYTES_MAX (1u << 20)

struct loader {
	const char *file;
	char *text;
	size_t bytes;
	struct err *err;
};

static int bad(const struct loader *loader, const char *path, const char *sentence)
{
	unsigned line = loader->text != NULL ? config_yaml_line(loader->text, loader->bytes, path) : 0;
	return err_set(loader->err, EINVAL, "%s:%u: %s: %s", loader->file, line, path, sentence);
}

static int set_string(char **field, const char *value)
{
	if (value == NULL)
		return 0;
	char *copy = strdup(value);
	if (copy == NULL)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static void set_number(unsigned *field, const unsigned *value)
{
	if (value != NULL)
		*field = *value;
}

static void set_flag(bool *field, const bool *value)
{
	if (value != NULL)
		*field = *value;
}

static int defaults(struct config *config)
{
	*config = (struct config){0};
	config->grpc.socket_mode = 0660;
	config->grpc.workers = 1;
	config->grpc.max_connections = 256;
	config->grpc.max_streams = 20000;
	config->log.level = LOG_INFO;
	config->dataplane.idle = DATAPLANE_IDLE_ADAPTIVE;
	config->dataplane.memory_mb = 256;
	config->dataplane.hugepages = true;
	config->audio.input = SOURCE_AUTO;
	config->audio.ring_ms = 10000;
	config->audio.max_wait_ms = config->audio.data_wait_ms = 60;
	config->limits.join_ms = 10000;
	config->limits.signal_ms = config->limits.transport_ms = 5000;
	config->limits.first_frame_ms = config->limits.leave_grace_ms = 500;
	config->limits.slot_linger_ms = config->limits.recover_limit_ms = 60000;
	config->limits.max_sessions = 10000;
	char **const empty[] = {&config->grpc.tcp, &config->grpc.socket_group, &config->grpc.tls_cert, &config->grpc.tls_key,
		&config->grpc.tls_client_ca, &config->log.env, &config->log.server, &config->livekit.ca_file};
	int ret = 0;
	for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
		ret |= set_string(empty[i], "");
	ret |= set_string(&config->grpc.socket, "/run/relay/bridge.sock");
	ret |= set_string(&config->admin.socket, "/run/relay/relayctl.sock");
	ret |= set_string(&config->log.service, "livekit-bridge");
	ret |= config_soniox_defaults(config);
	return ret ? -ENOMEM : 0;
}

// ---- words into values

static int parse_mode(const char *text, unsigned *ret_mode)
{
	char *end;
	unsigned long mode = strtoul(text, &end, 8);
	if (end == text || *end != '\0' || mode > 0777)
		return -EINVAL;
	*ret_mode = (unsigned)mode;
	return 0;
}

static int parse_address(const char *text, uint32_t *ret_ip, uint8_t *ret_prefix)
{
	char address[64];
	unsigned prefix = 32;
	struct in_addr ip;
	snprintf(address, sizeof(address), "%s", text);
	char *slash = strchr(address, '/');
	if (slash != NULL) {
		char *end;
		*slash++ = '\0';
		prefix = (unsigned)strtoul(slash, &end, 10);
		if (end == slash || *end != '\0' || prefix < 1 || prefix > 32)
			return -EINVAL;
	} else if (ret_prefix != NULL) {
		return -EINVAL;
	}
	if (inet_pton(AF_INET, address, &ip) != 1)
		return -EINVAL;
	*ret_ip = ntohl(ip.s_addr);
	if (ret_prefix != NULL)
		*ret_prefix = (uint8_t)prefix;
	return 0;
}

static int parse_range(const char *text, uint16_t *ret_min, uint16_t *ret_max)
{
	char *end;
	unsigned long first = strtoul(text, &end, 10);
	if (end == text || *end != '-')
		return -EINVAL;
	const char *second_text = end + 1;
	unsigned long second = strtoul(second_text, &end, 10);
	if (end == second_text || *end != '\0' || first < 1024 || second > 65535 || first > second)
		return -EINVAL;
	*ret_min = (uint16_t)first;
	*ret_max = (uint16_t)second;
	return 0;
}

// ---- sections

static int read_port(const struct loader *loader, struct config *config, unsigned index, const struct config_yaml_port *yaml)
{
	struct dataplane_port_config *port = &config->dataplane.ports[index];
	char path[64], generated[16];
	snprintf(generated, sizeof(generated), "media%u", index);
	snprintf(port->name, sizeof(port->name), "%s", yaml->name != NULL ? yaml->name : generated);
	port->queues = 1;
	port->udp_port_min = 20000;
	port->udp_port_max = 59999;
#define PATH(key) (snprintf(path, sizeof(path), "ports[%u]." key, index), path)
	if (yaml->device == NULL || yaml->device[0] == '\0')
		return bad(loader, PATH("device"), "is missing: af_packet:IFACE, af_xdp:IFACE, memif:PATH, pcap:FILE, null or a PCI address");
	if (strlen(yaml->device) >= sizeof(port->device))
		return bad(loader, PATH("device"), "is too long");
	snprintf(port->device, sizeof(port->device), "%s", yaml->device);
	if (yaml->address == NULL || parse_address(yaml->address, &port->address, &port->prefix_bits) < 0)
		return bad(loader, PATH("address"), "must be an IPv4 address with its prefix, such as 10.0.0.2/24");
	if (yaml->gateway != NULL && yaml->gateway[0] != '\0' && parse_address(yaml->gateway, &port->gateway, NULL) < 0)
		return bad(loader, PATH("gateway"), "must be an IPv4 address");
	uint32_t mask = ~0u << (32 - port->prefix_bits);
	if (port->gateway != 0 && ((port->gateway ^ port->address) & mask) != 0)
		return bad(loader, PATH("gateway"), "is not on the port's own network");
	if (yaml->queues != NULL) {
		if (*yaml->queues < 1 || *yaml->queues > 16)
			return bad(loader, PATH("queues"), "must be 1 to 16");
		port->queues = (uint16_t)*yaml->queues;
	}
	if (yaml->udp_ports != NULL && parse_range(yaml->udp_ports, &port->udp_port_min, &port->udp_port_max) < 0)
		return bad(loader, PATH("udp_ports"), "must be a range such as 20000-59999, above 1023");
#undef PATH
	return 0;
}

static int read_dataplane(const struct loader *loader, struct config *config, const struct config_yaml *yaml)
{
	struct dataplane_config *dataplane = &config->dataplane;
	// Our offer carries one candidate and is written before we know where the server's media is: a second port would idle.
	if (yaml->ports_count > 1)
		return bad(loader, "ports[1]", "only one port is supported: every PeerConnection uses it");
	for (unsigned i = 0; i < yaml->ports_count; i++) {
		int ret = read_port(loader, config, i, &yaml->ports[i]);
		if (ret < 0)
			return ret;
		dataplane->port_count++;
	}
	if (yaml->workers != NULL) {
		if (yaml->workers->cores_count > DATAPLANE_WORKERS_MAX)
			return bad(loader, "workers.cores", "are at most 32");
		for (unsigned i = 0; i < yaml->workers->cores_count; i++) {
			char path[32];
			snprintf(path, sizeof(path), "workers.cores[%u]", i);
			if (yaml->workers->cores[i] < 0 || yaml->workers->cores[i] > 1023)
				return bad(loader, path, "must be the number of a core, 0 to 1023");
			dataplane->cores[dataplane->worker_count++] = yaml->workers->cores[i];
		}
		if (yaml->workers->idle != NULL) {
			if (strcmp(yaml->workers->idle, "poll") != 0 && strcmp(yaml->workers->idle, "adaptive") != 0)
				return bad(loader, "workers.idle", "must be poll or adaptive");
			dataplane->idle = strcmp(yaml->workers->idle, "poll") == 0 ? DATAPLANE_IDLE_POLL
										   : DATAPLANE_IDLE_ADAPTIVE;
		}
	}
	if (yaml->memory != NULL) {
		set_number(&dataplane->memory_mb, yaml->memory->size_mb);
		set_flag(&dataplane->hugepages, yaml->memory->hugepages);
		if (dataplane->memory_mb < 64 || dataplane->memory_mb > 65536)
			return bad(loader, "memory.size_mb", "must be 64 to 65536");
	}
	return 0;
}

static int read_services(const struct loader *loader, struct config *config, const struct config_yaml *yaml)
{
	int ret = 0;
	if (yaml->grpc != NULL) {
		ret |= set_string(&config->grpc.socket, yaml->grpc->socket);
		ret |= set_string(&config->grpc.socket_group, yaml->grpc->socket_group);
		ret |= set_string(&config->grpc.tcp, yaml->grpc->tcp);
		ret |= set_string(&config->grpc.tls_cert, yaml->grpc->tls_cert);
		ret |= set_string(&config->grpc.tls_key, yaml->grpc->tls_key);
		ret |= set_string(&config->grpc.tls_client_ca, yaml->grpc->tls_client_ca);
		set_flag(&config->grpc.insecure_tcp, yaml->grpc->insecure_tcp);
		set_number(&config->grpc.workers, yaml->grpc->workers);
		set_number(&config->grpc.max_connections, yaml->grpc->max_connections);
		set_number(&config->grpc.max_streams, yaml->grpc->max_streams);
		if (yaml->grpc->socket_mode != NULL && parse_mode(yaml->grpc->socket_mode, &config->grpc.socket_mode) < 0)
			return bad(loader, "grpc.socket_mode", "must be an octal mode in quotes, such as \"0660\"");
		if (config->grpc.workers < 1 || config->grpc.workers > 3)
			return bad(loader, "grpc.workers", "must be 1 to 3");
		if ((config->grpc.tls_cert[0] == '\0') != (config->grpc.tls_key[0] == '\0'))
			return bad(loader, "grpc.tls_cert", "and grpc.tls_key go together");
	}
	if (yaml->admin != NULL)
		ret |= set_string(&config->admin.socket, yaml->admin->socket);
	if (yaml->log != NULL) {
		ret |= set_string(&config->log.service, yaml->log->service);
		ret |= set_string(&config->log.env, yaml->log->env);
		ret |= set_string(&config->log.server, yaml->log->server);
		if (yaml->log->level != NULL && log_level_parse(yaml->log->level, &config->log.level) < 0)
			return bad(loader, "log.level", "must be debug, info, warn or error");
	}
	if (yaml->livekit != NULL)
		ret |= set_string(&config->livekit.ca_file, yaml->livekit->ca_file);
	return ret ? err_set(loader->err, ENOMEM, "out of memory") : 0;
}

static int read_audio(const struct loader *loader, struct config *config, const struct config_yaml *yaml)
{
	if (yaml->audio == NULL)
		return 0;
	static const char *const words[] = {[SOURCE_AUTO] = "auto", [SOURCE_TRACK] = "track", [SOURCE_DATA] = "data"};
	set_number(&config->audio.ring_ms, yaml->audio->ring_ms);
	set_number(&config->audio.max_wait_ms, yaml->audio->max_wait_ms);
	set_number(&config->audio.data_wait_ms, yaml->audio->data_wait_ms);
	set_flag(&config->audio.conceal_data, yaml->audio->conceal_data);
	if (config->audio.ring_ms < 100 || config->audio.ring_ms > 600000)
		return bad(loader, "audio.ring_ms", "must be 100 to 600000");
	if (config->audio.max_wait_ms < 1 || config->audio.max_wait_ms > 1000)
		return bad(loader, "audio.max_wait_ms", "must be 1 to 1000");
	if (config->audio.data_wait_ms < 1 || config->audio.data_wait_ms > 1000)
		return bad(loader, "audio.data_wait_ms", "must be 1 to 1000");
	if (yaml->audio->input == NULL)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(yaml->audio->input, words[i]) == 0) {
			config->audio.input = (int)i;
			return 0;
		}
	}
	return bad(loader, "audio.input", "must be auto, track or data");
}

static int read_limits(const struct loader *loader, struct config *config, const struct config_yaml *yaml)
{
	if (yaml->limits == NULL)
		return 0;
	const struct {
		const char *path;
		unsigned *field;
		const unsigned *value;
		unsigned least, most;
	} limits[] = {
		{"limits.join_ms", &config->limits.join_ms, yaml->limits->join_ms, 100, 120000},
		{"limits.signal_ms", &config->limits.signal_ms, yaml->limits->signal_ms, 100, 60000},
		{"limits.transport_ms", &config->limits.transport_ms, yaml->limits->transport_ms, 100, 60000},
		{"limits.first_frame_ms", &config->limits.first_frame_ms, yaml->limits->first_frame_ms, 0, 10000},
		{"limits.leave_grace_ms", &config->limits.leave_grace_ms, yaml->limits->leave_grace_ms, 0, 60000},
		{"limits.slot_linger_ms", &config->limits.slot_linger_ms, yaml->limits->slot_linger_ms, 0, 3600000},
		{"limits.recover_limit_ms", &config->limits.recover_limit_ms, yaml->limits->recover_limit_ms, 0, 3600000},
		{"limits.max_sessions", &config->limits.max_sessions, yaml->limits->max_sessions, 1, 100000},
	};
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		char sentence[64];
		set_number(limits[i].field, limits[i].value);
		snprintf(sentence, sizeof(sentence), "must be %u to %u", limits[i].least, limits[i].most);
		if (*limits[i].field < limits[i].least || *limits[i].field > limits[i].most)
			return bad(loader, limits[i].path, sentence);
	}
	return 0;
}

// ---- the old program's environment (facts: soniox-and-cloud.md 3.1)

static const char *variable(char *const *environment, const char *name)
{
	size_t length = strlen(name);
	for (; environment != NULL && *environment != NULL; environment++)
		if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=' && (*environment)[length + 1])
			return *environment + length + 1;
	return NULL;
}

static int read_environment(struct config *config, char *const *environment, struct err *err)
{
	const char *insecure = variable(environment, "RELAY_INSECURE_TCP"), *port = variable(environment, "PORT");
	const char *level = variable(environment, "LOG_LEVEL"), *env = variable(environment, "ENV");
	if (insecure != NULL)
		config->grpc.insecure_tcp = strcmp(insecure, "1") == 0;
	if (port != NULL) {
		char *end, address[32];
		unsigned long number = strtoul(port, &end, 10);
		if (*end != '\0' || number > 65535)
			return err_set(err, EINVAL, "PORT: %s is not a port number", port);
		snprintf(address, sizeof(address), "%s:%lu", config->grpc.insecure_tcp ? "0.0.0.0" : "127.0.0.1", number);
		if (set_string(&config->grpc.tcp, address) < 0)
			return err_set(err, ENOMEM, "out of memory");
	}
	if (level != NULL && log_level_parse(level, &config->log.level) < 0)
		return err_set(err, EINVAL, "LOG_LEVEL: %s is not debug, info, warn or error", level);
	int ret = set_string(&config->grpc.socket, variable(environment, "LIVEKIT_GRPC_SOCKET"));
	ret |= set_string(&config->log.env, env != NULL ? env : variable(environment, "NODE_ENV"));
	ret |= set_string(&config->log.server, variable(environment, "SERVER_NAME"));
	return ret ? err_set(err, ENOMEM, "out of memory") : 0;
}

// ---- the whole

static int read_text(const char *file, struct loader *loader)
{
	FILE *stream = fopen(file, "re");
	if (stream == NULL)
		return err_set(loader->err, errno, "%s: %s", file, strerror(errno));
	loader->text = malloc(FILE_BYTES_MAX + 1);
	loader->bytes = loader->text != NULL ? fread(loader->text, 1, FILE_BYTES_MAX + 1, stream) : 0;
	fclose(stream);
	if (loader->text == NULL || loader->bytes > FILE_BYTES_MAX)
		return err_set(loader->err, EFBIG, "%s: larger than 1 MiB", file);
	return 0;
}

static int load_file(struct config *config, const char *file, struct err *err)
{
	struct loader loader = {.file = file, .err = err};
	struct config_yaml *yaml = NULL;
	int ret = read_text(file, &loader);
	if (ret == 0)
		ret = config_yaml_load(file, loader.text, loader.bytes, &yaml, err);
	if (ret == 0 && yaml != NULL) {
		ret = read_services(&loader, config, yaml);
		if (ret == 0)
			ret = read_dataplane(&loader, config, yaml);
		if (ret == 0)
			ret = read_audio(&loader, config, yaml);
		if (ret == 0)
			ret = read_limits(&loader, config, yaml);
		char path[64];
		struct err sentence = {""};
		if (ret == 0 && (ret = config_soniox_read(config, yaml, path, &sentence)) < 0)
			ret = bad(&loader, path, sentence.text);
		if (ret == 0 && config->dataplane.port_count == 0)
			ret = bad(&loader, "ports", "at least one is needed");
		if (ret == 0 && config->dataplane.worker_count == 0)
			ret = bad(&loader, "workers.cores", "at least one core is needed");
	}
	config_yaml_free(yaml);
	free(loader.text);
	return ret;
}

struct config *config_load(const char *file, char *const *environment, struct err *err)
{
	struct config *config = calloc(1, sizeof(*config));
	int ret = config != NULL ? defaults(config) : -ENOMEM;
	if (ret < 0)
		err_set(err, ENOMEM, "out of memory");
	if (ret == 0 && file != NULL)
		ret = load_file(config, file, err);
	if (ret == 0)
		ret = read_environment(config, environment, err);
	if (ret == 0)
		ret = config_soniox_finish(config, variable(environment, "SONIOX_WS_URL"), variable(environment, "SONIOX_API_KEY"), err);
	if (ret < 0) {
		config_free(config);
		return NULL;
	}
	return config;
}

void config_free(struct config *config)
{
	if (config == NULL)
		return;
	char *const strings[] = {config->grpc.socket, config->grpc.socket_group, config->grpc.tcp, config->grpc.tls_cert,
		config->grpc.tls_key, config->grpc.tls_client_ca, config->admin.socket, config->log.service, config->log.env,
		config->log.server, config->livekit.ca_file};
	for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
		free(strings[i]);
	config_soniox_free(config);
	free(config);
}
