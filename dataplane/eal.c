// SPDX-License-Identifier: ISC
//
// eal.c - DPDK's environment made from our configuration.
//
// Runs on: init.

#include "dataplane/eal.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#include "dataplane/port.h"

#define EAL_ARGS_MAX (16 + DATAPLANE_PORTS_MAX)

static void (*log_fn)(int level, const char *text);

// DPDK's own log, a line at a time.
static ssize_t eal_log_write(void *cookie, const char *text, size_t bytes)
{
	char line[400];
	(void)cookie;
	size_t length = MIN_OF(bytes, sizeof(line) - 1);
	memcpy(line, text, length);
	while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == ' '))
		length--;
	line[length] = '\0';
	int level = rte_log_cur_msg_loglevel();
	if (log_fn != NULL && length > 0)
		log_fn(level >= 1 && level <= (int)RTE_LOG_ERR ? 2 : 0, line);
	return (ssize_t)bytes;
}

static uint64_t huge_free_bytes(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	unsigned long long pages = 0, size_kb = 0;
	char line[128];
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		sscanf(line, "HugePages_Free: %llu", &pages);
		sscanf(line, "Hugepagesize: %llu", &size_kb);
	}
	if (file != NULL)
		fclose(file);
	return pages * size_kb * 1024;
}

// "0@(0,1),1@1": the caller may run where it could before, each worker only on its core.
static char *lcores_arg(const struct dataplane_config *config, const cpu_set_t *allowed)
{
	char text[2048];
	size_t at = (size_t)snprintf(text, sizeof(text), "--lcores=0@(");
	const char *comma = "";
	for (int cpu = 0; cpu < CPU_SETSIZE && at < sizeof(text) - 64; cpu++) {
		if (!CPU_ISSET(cpu, allowed))
			continue;
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%d", comma, cpu);
		comma = ",";
	}
	at += (size_t)snprintf(text + at, sizeof(text) - at, ")");
	for (unsigned i = 0; i < config->worker_count && at < sizeof(text) - 32; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, ",%u@%d", i + 1, config->cores[i]);
	return strdup(text);
}

int eal_start(const struct dataplane_config *config, bool *ret_hugepages, struct err *err)
{
	cpu_set_t allowed;
	char *args[EAL_ARGS_MAX];
	unsigned count = 0;
	if (pthread_getaffinity_np(pthread_self(), sizeof(allowed), &allowed) != 0)
		return err_set(err, errno, "cannot read the CPU affinity");
	for (unsigned i = 0; i < config->worker_count; i++)
		if (config->cores[i] < 0 || config->cores[i] >= CPU_SETSIZE || !CPU_ISSET(config->cores[i], &allowed))
			return err_set(err, EINVAL, "workers.cores: core %d is not among those this process may use",
				config->cores[i]);
	bool huge = config->hugepages && huge_free_bytes() >= (uint64_t)config->memory_mb << 20;
	*ret_hugepages = huge;
	log_fn = config->log;
	FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = eal_log_write});
	if (stream != NULL) {
		setvbuf(stream, NULL, _IOLBF, 0);
		rte_openlog_stream(stream);
	}

	args[count++] = strdup("relayd");
	args[count++] = lcores_arg(config, &allowed);
	args[count++] = strdup("--main-lcore=0");
	args[count++] = strdup("--no-telemetry");
	args[count++] = strdup("--iova-mode=va");
	if (huge) {
		args[count++] = strdup("--in-memory");
	} else {
		char memory[32];
		snprintf(memory, sizeof(memory), "-m%u", config->memory_mb);
		args[count++] = strdup("--no-huge");
		args[count++] = strdup("--no-shconf");
		args[count++] = strdup(memory);
	}
	unsigned first_device = count;
	bool pci = false;
	int ret = 0;
	for (unsigned p = 0; ret == 0 && p < config->port_count; p++)
		ret = port_eal_args(&config->ports[p], p, config->worker_count, args, &count, err);
	for (unsigned i = first_device; i < count; i++)
		pci = pci || strncmp(args[i], "--allow", 7) == 0;
	if (!pci)
		args[count++] = strdup("--no-pci");

	char *argv[EAL_ARGS_MAX]; // EAL permutes what it is given
	memcpy(argv, args, sizeof(argv));
	if (ret == 0 && rte_eal_init((int)count, argv) < 0)
		ret = err_set(err, rte_errno ? rte_errno : EINVAL, "DPDK does not start: %s", rte_strerror(rte_errno));
	pthread_setaffinity_np(pthread_self(), sizeof(allowed), &allowed);
	for (unsigned i = 0; i < count; i++)
		free(args[i]);
	return ret;
}

void eal_stop(void)
{
	rte_eal_cleanup();
}
