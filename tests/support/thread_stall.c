// SPDX-License-Identifier: ISC
//
// thread_stall.c - stops one thread of another process, as a scheduler that has forgotten it would: thread-stall TID MS
//
// It says "stopped", and lets the thread go on once its own input has ended and at least MS milliseconds have passed; then it
// says for how long it was. The other threads of that process run on.
//
// Runs on: a process of its own.

#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/base.h"

static int complain(const char *what)
{
	fprintf(stderr, "thread-stall: %s: %s\n", what, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: thread-stall TID MS\n");
		return 2;
	}
	pid_t thread = (pid_t)strtol(argv[1], NULL, 10);
	uint64_t least_ns = strtoull(argv[2], NULL, 10) * 1000000;
	if (ptrace(PTRACE_SEIZE, thread, NULL, NULL) != 0)
		return complain("seize");
	if (ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) != 0)
		return complain("interrupt");
	if (waitpid(thread, NULL, __WALL) != thread)
		return complain("wait");
	uint64_t began = clock_mono_ns();
	printf("stopped\n");
	fflush(stdout);
	char byte;
	while (read(STDIN_FILENO, &byte, 1) > 0)
		continue;
	while (clock_mono_ns() - began < least_ns)
		usleep(1000);
	if (ptrace(PTRACE_DETACH, thread, NULL, NULL) != 0)
		return complain("detach");
	printf("%.1f ms\n", (double)(clock_mono_ns() - began) / 1e6);
	return 0;
}
