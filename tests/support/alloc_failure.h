// SPDX-License-Identifier: ISC
//
// alloc_failure.h - included by one file of a test: the allocator of the whole program, libraries too, that fails when told.
//
// alloc_failures runs a story again and again: first as it is, then with the first allocation failing, then the second, until one
// run comes through untouched; then with every n-th failing at once. The story itself says whether it ended cleanly; that
// nothing it allocated is left is counted here. Only what the story's thread does within alloc_begin/alloc_end fails.
//
// alloc_everywhere: in every other thread instead, and only where the program itself or protobuf-c asks: gRPC's core ends the
// process when it gets no memory.
//
// Runs on: any.
#pragma once

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

#include "dataplane/base.h"

#define ALLOC_LIVE_MAX 65536u
#define ALLOC_EVERY_MAX 12
#define ALLOC_TRIES 4
#define ALLOC_FORGOTTEN_MAX 16

static __thread bool alloc_armed;
static bool alloc_everywhere;
static const void *alloc_failed_from;
static pthread_mutex_t alloc_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long alloc_count, alloc_fail_at, alloc_fail_every, alloc_failed;
static void *alloc_live[ALLOC_LIVE_MAX], *alloc_from[ALLOC_LIVE_MAX]; // of the armed thread, and its caller; open addressing
static unsigned long alloc_live_count;

static void *(*real_malloc)(size_t), *(*real_calloc)(size_t, size_t), *(*real_realloc)(void *, size_t), (*real_free)(void *);
static int (*real_posix_memalign)(void **, size_t, size_t);
static void *(*real_aligned_alloc)(size_t, size_t);

// Looking up the real ones may allocate: out of this, never given back.
static _Alignas(16) char alloc_early[65536];
static size_t alloc_early_used;

static bool alloc_is_early(const void *p)
{
	return (const char *)p >= alloc_early && (const char *)p < alloc_early + sizeof(alloc_early);
}

static void *alloc_take_early(size_t bytes)
{
	void *p = alloc_early + alloc_early_used;
	alloc_early_used += (bytes + 15) & ~(size_t)15;
	return alloc_early_used <= sizeof(alloc_early) ? p : NULL;
}

static bool alloc_ready(void)
{
	static bool looking;
	if (real_free != NULL)
		return true;
	if (looking)
		return false;
	looking = true;
	real_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
	real_calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
	real_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
	real_posix_memalign = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
	real_aligned_alloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "aligned_alloc");
	real_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
	return true;
}

// Where the code of protobuf-c lies, if the test has found it.
static const char *alloc_protobuf, *alloc_protobuf_end;
extern char __executable_start, etext; // the linker's

static bool alloc_is_ours(const void *from)
{
	const char *at = from;
	return (at >= &__executable_start && at < &etext) || (at >= alloc_protobuf && at < alloc_protobuf_end);
}

// Whether this caller in this thread is one of the story's.
static bool alloc_concerns(const void *from)
{
	return alloc_everywhere ? !alloc_armed && alloc_is_ours(from) : alloc_armed;
}

static bool alloc_refuses(const void *from)
{
	if (!alloc_concerns(from))
		return false;
	pthread_mutex_lock(&alloc_lock);
	alloc_count++;
	bool fails = alloc_count == alloc_fail_at || (alloc_fail_every != 0 && alloc_count % alloc_fail_every == 0);
	alloc_failed += fails;
	if (fails)
		alloc_failed_from = from;
	pthread_mutex_unlock(&alloc_lock);
	if (fails)
		errno = ENOMEM;
	return fails;
}

static unsigned alloc_place(const void *p)
{
	unsigned at = (unsigned)(((uintptr_t)p >> 4) * 2654435761u) % ALLOC_LIVE_MAX;
	while (alloc_live[at] != NULL && alloc_live[at] != p)
		at = (at + 1) % ALLOC_LIVE_MAX;
	return at;
}

static void *alloc_note(void *p, void *from)
{
	if (p == NULL || !alloc_concerns(from))
		return p;
	pthread_mutex_lock(&alloc_lock);
	if (alloc_live_count < ALLOC_LIVE_MAX / 2) {
		unsigned at = alloc_place(p);
		alloc_live[at] = p;
		alloc_from[at] = from;
		alloc_live_count++;
	}
	pthread_mutex_unlock(&alloc_lock);
	return p;
}

static void alloc_forget(void *p)
{
	if ((!alloc_armed && !alloc_everywhere) || p == NULL)
		return;
	pthread_mutex_lock(&alloc_lock);
	unsigned at = alloc_place(p);
	bool known = alloc_live[at] != NULL; // or from before
	alloc_live_count -= known;
	alloc_live[at] = NULL;
	for (at = (at + 1) % ALLOC_LIVE_MAX; known && alloc_live[at] != NULL; at = (at + 1) % ALLOC_LIVE_MAX) { // close the hole
		void *moved = alloc_live[at];
		alloc_live[at] = NULL;
		unsigned place = alloc_place(moved);
		alloc_live[place] = moved;
		alloc_from[place] = alloc_from[at];
	}
	pthread_mutex_unlock(&alloc_lock);
}

// ---- what the program calls

#define ALLOC_EXPORT __attribute__((visibility("default")))
ALLOC_EXPORT void *malloc(size_t bytes)
{
	if (!alloc_ready())
		return alloc_take_early(bytes);
	void *from = __builtin_return_address(0);
	return alloc_refuses(from) ? NULL : alloc_note(real_malloc(bytes), from);
}

ALLOC_EXPORT void *calloc(size_t count, size_t bytes)
{
	if (!alloc_ready())
		return alloc_take_early(count * bytes);
	void *from = __builtin_return_address(0);
	return alloc_refuses(from) ? NULL : alloc_note(real_calloc(count, bytes), from);
}

ALLOC_EXPORT void *realloc(void *old, size_t bytes)
{
	if (!alloc_ready() || alloc_is_early(old))
		return NULL;
	if (alloc_refuses(__builtin_return_address(0)))
		return NULL;
	alloc_forget(old);
	void *p = real_realloc(old, bytes);
	return alloc_note(p, __builtin_return_address(0));
}

ALLOC_EXPORT int posix_memalign(void **ret, size_t alignment, size_t bytes)
{
	if (!alloc_ready() || alloc_refuses(__builtin_return_address(0)))
		return ENOMEM;
	int rc = real_posix_memalign(ret, alignment, bytes);
	if (rc == 0)
		alloc_note(*ret, __builtin_return_address(0));
	return rc;
}

ALLOC_EXPORT void *aligned_alloc(size_t alignment, size_t bytes)
{
	if (!alloc_ready() || alloc_refuses(__builtin_return_address(0)))
		return NULL;
	return alloc_note(real_aligned_alloc(alignment, bytes), __builtin_return_address(0));
}

// The library's own would ask in the library's name.
ALLOC_EXPORT char *strdup(const char *text)
{
	void *from = __builtin_return_address(0);
	size_t bytes = strlen(text) + 1;
	if (!alloc_ready() || alloc_refuses(from))
		return NULL;
	char *copy = alloc_note(real_malloc(bytes), from);
	return copy == NULL ? NULL : memcpy(copy, text, bytes);
}

ALLOC_EXPORT void free(void *p)
{
	if (p == NULL || alloc_is_early(p) || !alloc_ready())
		return;
	alloc_forget(p);
	real_free(p);
}

// ---- the stories

static inline void alloc_begin(unsigned long fail_at, unsigned long fail_every)
{
	alloc_count = alloc_failed = 0;
	alloc_fail_at = fail_at;
	alloc_fail_every = fail_every;
	memset(alloc_live, 0, sizeof(alloc_live));
	alloc_live_count = 0;
	alloc_armed = true;
}

// Nothing fails from here on; what is freed still counts.
static inline void alloc_calm(void)
{
	alloc_fail_at = alloc_fail_every = 0;
}

// Where what is left was asked for, for addr2line.
static inline void alloc_print_left(void)
{
	for (unsigned place = 0; place < ALLOC_LIVE_MAX; place++)
		if (alloc_live[place] != NULL)
			print_error("left by program + 0x%lx\n", (unsigned long)((const char *)alloc_from[place] - &__executable_start));
}

static inline void alloc_end(const char *name, unsigned long at, unsigned long every)
{
	alloc_armed = false;
	unsigned left = 0, forgotten = 0;
	for (unsigned place = 0; alloc_live_count != 0 && place < ALLOC_LIVE_MAX; place++) {
		Dl_info info = {0};
		if (alloc_live[place] == NULL || dladdr(alloc_from[place], &info) == 0)
			continue;
		// The texts of its last errors: OpenSSL keeps sixteen of a thread.
		if (info.dli_sname != NULL && strcmp(info.dli_sname, "ERR_vset_error") == 0)
			continue;
		// OpenSSL 3.0 forgets some blocks of its own where the set-up of an algorithm fails. An object of ours has more.
		if (info.dli_fname != NULL && strstr(info.dli_fname, "/libcrypto.so") != NULL && ++forgotten <= ALLOC_FORGOTTEN_MAX * alloc_failed)
			continue;
		print_error("left by %s + 0x%lx\n", info.dli_fname, (unsigned long)((char *)alloc_from[place] - (char *)info.dli_fbase));
		left++;
	}
	if (left != 0)
		fail_msg("%s: %u allocations are left, failing %lu, every %lu", name, left, at, every);
}

// One run; true when something failed in it. What is left is left by each run that fails at the same place, or a library has
// kept something for good that it could not have earlier.
static inline bool alloc_run(const char *name, void (*story)(void), unsigned long at, unsigned long every)
{
	unsigned long failed = 0;
	for (unsigned try = 0; try < ALLOC_TRIES && (try == 0 || alloc_live_count > 0); try++) {
		alloc_begin(at, every);
		story();
		alloc_armed = false;
		failed = alloc_failed;
	}
	alloc_end(name, at, every);
	return failed > 0;
}

static inline void alloc_failures(const char *name, void (*story)(void))
{
	unsigned long at = 1;
	alloc_run(name, story, 0, 0);
	unsigned long total = alloc_count;
	while (alloc_run(name, story, at, 0))
		at++;
	for (unsigned every = 1; every <= ALLOC_EVERY_MAX; every++)
		alloc_run(name, story, 0, every);
	print_message("%-24s %5lu allocations, %5lu runs with failures\n", name, total, at - 1 + ALLOC_EVERY_MAX);
}
