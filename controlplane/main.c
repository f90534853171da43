// SPDX-License-Identifier: ISC
//
// main.c - relayd: configuration, log, dataplane, services, the loop; then the same in reverse.
//
// Runs on: init, control.

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "controlplane/config.h"
#include "controlplane/control.h"
#include "controlplane/drop_watch.h"
#include "controlplane/grpc_server.h"
#include "controlplane/leg.h"
#include "controlplane/log.h"
#include "controlplane/resolve.h"
#include "controlplane/slot.h"
#include "controlplane/soniox.h"
#include "controlplane/ws.h"
#include "dataplane/dataplane.h"

// On SIGTERM legs say leave and streams end within this; a second signal ends at once.
#define DRAIN_LIMIT_MS 1000
#define SONIOX_DRAIN_LIMIT_MS 700 // of that, for the last words of whoever is transcribed

extern char **environ;

static void usage(FILE *out)
{
	fputs("usage: relayd [-c FILE]        run with a configuration (configs/relay.yaml is the manual)\n"
	      "       relayd --check FILE     check a configuration, explain errors by line\n"
	      "       relayd --version | --help\n",
		out);
}

static void dataplane_log(int level, const char *text)
{
	log_text((enum log_level)level, "dataplane", text);
}

static void on_dataplane_events(void *unused)
{
	(void)unused;
	ENTERS(control_role);
	struct dataplane_event event;
	while (dataplane_event_next(&event))
		leg_transport_event(&event);
}

static void on_words_here(void *unused)
{
	(void)unused;
	control_stop();
}

static void on_drained(void *unused)
{
	(void)unused;
	ENTERS(control_role);
	soniox_drain(SONIOX_DRAIN_LIMIT_MS, on_words_here, NULL);
}

static void on_signal(void *arg)
{
	static bool draining;
	ENTERS(control_role);
	struct signalfd_siginfo info;
	if (read(*(int *)arg, &info, sizeof(info)) != sizeof(info))
		return;
	log_line(LOG_INFO, "Stopping", S("signal", strsignal((int)info.ssi_signo)), B("now", draining));
	if (draining) {
		control_stop();
		return;
	}
	draining = true;
	grpc_server_set_draining();
	slots_drain(DRAIN_LIMIT_MS, on_drained, NULL);
}

// Signals are read by the loop; every thread made later inherits the mask. A peer that goes away is an error code.
static int signals_start(int *ret_fd, struct err *err)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	*ret_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return *ret_fd < 0 ? err_set(err, errno, "signalfd: %s", strerror(errno)) : 0;
}

static void descriptors_raise(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = MIN_OF(limit.rlim_max, (rlim_t)65536);
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int run(struct config *config)
{
	ENTERS(control_role);
	struct err err = {""};
	int signal_fd = -1;
	log_set_level(config->log.level);
	log_set_fields(config->log.service, config->log.env, config->log.server);
	log_line(LOG_INFO, "Starting relayd", S("version", RELAY_VERSION));
	descriptors_raise();
	config->dataplane.log = dataplane_log;

	int ret = signals_start(&signal_fd, &err);
	if (ret == 0)
		ret = dataplane_start(&config->dataplane, &err);
	if (ret == 0)
		ret = control_init(&err);
	if (ret == 0)
		ret = resolve_init(&err);
	if (ret == 0)
		ret = ws_init(&err);
	if (ret == 0)
		ret = soniox_init(config, &err);
	if (ret == 0)
		ret = slots_init(config, &err);
	if (ret == 0)
		ret = control_watch(signal_fd, on_signal, &signal_fd);
	if (ret == 0)
		ret = control_watch(dataplane_event_fd(), on_dataplane_events, NULL);
	if (ret == 0)
		drop_watch_start();
	if (ret == 0)
		ret = grpc_server_launch(config, &err);
	if (ret < 0) {
		log_line(LOG_ERROR, "Cannot start", S("error", err.text[0] ? err.text : strerror(-ret)));
		return 1;
	}
	log_line(LOG_INFO, "Ready", S("socket", config->grpc.socket), S("tcp", config->grpc.tcp),
		S("admin", config->admin.socket));
	control_run();

	grpc_server_stop();
	drop_watch_stop();
	slots_finish();
	soniox_finish();
	ws_finish();
	resolve_finish();
	control_finish();
	dataplane_stop();
	close(signal_fd);
	log_line(LOG_INFO, "Stopped");
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
		{"check", required_argument, NULL, 'k'}, {"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'}, {0}};
	const char *file = NULL;
	bool check = false;
	for (int option; (option = getopt_long(argc, argv, "c:hV", options, NULL)) != -1;) {
		switch (option) {
		case 'c':
			file = optarg;
			break;
		case 'k':
			file = optarg;
			check = true;
			break;
		case 'V':
			puts("relayd " RELAY_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return 2;
	}
	struct err err = {""};
	struct config *config = config_load(file, environ, &err);
	if (config == NULL) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	int ret = 0;
	if (check)
		printf("%s: fine\n", file);
	else
		ret = run(config);
	config_free(config);
	return ret;
}
