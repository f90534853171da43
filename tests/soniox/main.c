// SPDX-License-Identifier: ISC
//
// main.c - soniox-standin: options, start, end. Writes one line "listening PORT control PORT" and serves until it is told to
// stop by SIGTERM or SIGINT.
//
// Runs on: init, the main thread.
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "tests/soniox/faults.h"
#include "tests/soniox/journal.h"
#include "tests/soniox/server.h"
#include "tests/soniox/settings.h"
#include "tests/soniox/sphinx.h"
#include "tests/soniox/tick.h"

static const char usage[] =
	"soniox-standin - a stand-in of Soniox real-time speech-to-text for tests and demonstrations\n"
	"\n"
	"  --listen ADDRESS        where to listen (127.0.0.1)\n"
	"  --port PORT             for clients: ws[s]://ADDRESS:PORT/transcribe-websocket (any)\n"
	"  --control-port PORT     for tests, plain HTTP: http://ADDRESS:PORT/control (any)\n"
	"  --tls CERT KEY          TLS for clients, both files PEM\n"
	"  --key KEY               an API key that is right; may be repeated (standin-key)\n"
	"  --recogniser NAME       sphinx: hears English; scripted: names test audio (scripted)\n"
	"  --recognisers N         load so many PocketSphinx decoders at the start (1)\n"
	"  --clock-speed X         the stand-in's clock runs X times as fast (1)\n";

struct options {
	struct server_config server;
	struct settings settings;
	const char *recogniser;
	unsigned recognisers;
	double speed;
};

static int read_port(const char *text, uint16_t *ret)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);
	*ret = (uint16_t)port;
	return *text != '\0' && *end == '\0' && port <= 65535 ? 0 : -EINVAL;
}

static int read_options(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{"listen", required_argument, NULL, 'l'},
		{"port", required_argument, NULL, 'p'},
		{"control-port", required_argument, NULL, 'c'},
		{"tls", required_argument, NULL, 't'},
		{"key", required_argument, NULL, 'k'},
		{"recogniser", required_argument, NULL, 'r'},
		{"recognisers", required_argument, NULL, 'n'},
		{"clock-speed", required_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	bool keys = false;
	int status = 0;
	for (int c; status == 0 && (c = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
		switch (c) {
		case 'l':
			options->server.address = optarg;
			break;
		case 'p':
			status = read_port(optarg, &options->server.port);
			break;
		case 'c':
			status = read_port(optarg, &options->server.control_port);
			break;
		case 't':
			options->server.cert_file = optarg;
			options->server.key_file = optind < argc ? argv[optind++] : NULL;
			status = options->server.key_file == NULL ? -EINVAL : 0;
			break;
		case 'k':
			keys_add(optarg);
			keys = true;
			break;
		case 'r':
			options->recogniser = optarg;
			break;
		case 'n':
			options->recognisers = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 's':
			options->speed = strtod(optarg, NULL);
			break;
		default:
			status = -EINVAL;
		}
	}
	if (!keys)
		keys_add("standin-key");
	return status == 0 && optind == argc ? 0 : -EINVAL;
}

static int set_recogniser(const char *name, unsigned count, struct err *err)
{
	json_t *change = json_pack("{s:s}", "recogniser", name);
	int status = settings_change(change, err);
	json_decref(change);
	if (status < 0 || strcmp(name, "sphinx") != 0)
		return status;
	return sphinx_load(count, err);
}

int main(int argc, char **argv)
{
	struct options options = {.server = {.address = "127.0.0.1"}, .recogniser = "scripted", .recognisers = 1, .speed = 1};
	struct err err = {0};
	if (read_options(argc, argv, &options) < 0) {
		fputs(usage, stderr);
		return 2;
	}
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL); // before there are other threads
	signal(SIGPIPE, SIG_IGN); // TLS writes without MSG_NOSIGNAL
	tick_init(options.speed);
	settings_set_recogniser(&recogniser_scripted);
	settings_reset();
	if (set_recogniser(options.recogniser, options.recognisers, &err) < 0 || server_start(&options.server, &err) < 0) {
		fprintf(stderr, "soniox-standin: %s\n", err.text);
		return 1;
	}
	printf("listening %u control %u\n", server_port(), server_control_port());
	fflush(stdout);
	int signal;
	sigwait(&signals, &signal);
	server_stop();
	faults_clear();
	journal_forget(true);
	sphinx_unload();
	return 0;
}
