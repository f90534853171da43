// SPDX-License-Identifier: ISC
//
// resolve.c - names into IPv4 addresses on io threads, so that no name holds up another.
//
// The system's resolver blocks, and for a name whose servers never answer it does so for ten seconds and more. Anybody may bring
// such names, so nobody gets all threads:
//
//  - One look-up per name: whoever asks for it meanwhile shares its answer. One that nobody waits for any more is not begun.
//  - A zone (the end of a name that somebody owns, who can make any number of names of it) has at most ZONE_THREADS at a time.
//  - Zones that have answered in time can always have a thread. Those of which nothing is known get fewer, those that were slow
//    fewest. What is remembered of zones is bounded; those that have answered stay longest.
//
// Runs on: control (start, cancel, done), io (the resolver's threads), init (init, finish).

#include "controlplane/resolve.h"

#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>

#include "controlplane/control.h"

#define ZONE_THREADS 2
#define ZONES_MAX (RESOLVE_QUEUE_MAX + 512) // more than can be in use at once
#define ZONE_NAME_MAX 128
#define SLOW_NS 1000000000u                 // what took longer was slow
#define SLOW_KEPT_NS 60000000000u           // and its zone counts as slow for so long
#define FINISH_WAIT_S 1

enum pace { PACE_KNOWN, PACE_UNKNOWN, PACE_SLOW, PACES };

// How many threads look-ups of this pace and of those below may hold together.
static const unsigned threads_most[PACES] = {
	[PACE_KNOWN] = RESOLVE_THREADS, [PACE_UNKNOWN] = RESOLVE_THREADS - 2, [PACE_SLOW] = RESOLVE_THREADS / 2 - 1};
// How many names there may be for one of this pace to be taken in.
static const unsigned names_most[PACES] = {
	[PACE_KNOWN] = RESOLVE_QUEUE_MAX, [PACE_UNKNOWN] = RESOLVE_QUEUE_MAX / 2, [PACE_SLOW] = RESOLVE_QUEUE_MAX / 4};

struct zone {
	char name[ZONE_NAME_MAX];
	unsigned names, running;   // that wait or are looked up; of those, with a thread
	bool known;                // has given an address in time, and was not slow since
	uint64_t told_ns, slow_ns; // last answer, last slow one; 0: none
};

struct answer {
	int status;
	unsigned count;
	struct sockaddr_storage addresses[RESOLVE_ADDRESSES_MAX];
};

struct lookup {
	struct lookup *next; // in the order in which they came
	struct resolve *askers;
	struct zone *zone;
	uint64_t began_ns; // 0: it waits
	enum pace pace;    // when it began
	char host[256];
};

struct resolve {
	struct resolve *next;  // of the same look-up
	struct lookup *lookup; // NULL: answered, and in control's queue
	struct control_work work;
	uint16_t port;
	resolve_fn *done; // NULL: cancelled
	void *arg;
	struct answer answer;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_t threads[RESOLVE_THREADS];
	unsigned thread_count;
	unsigned life; // a thread that was left behind by an earlier one touches nothing
	struct lookup *lookups;
	unsigned lookup_count;
	struct zone zones[ZONES_MAX];
	unsigned zone_count;
} own = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

// ---- zones

// Of the label that ends there.
static const char *label_begin(const char *host, const char *end)
{
	while (end > host && end[-1] != '.')
		end--;
	return end;
}

// The last two labels, three where those are of the kind of "co.uk": nobody shares a zone with strangers who could spoil it.
static const char *zone_name(const char *host)
{
	const char *end = host + strlen(host), *last = label_begin(host, end);
	const char *second = last > host ? label_begin(host, last - 1) : last;
	bool shared = end - last == 2 && last - second <= 4;
	return shared && second > host ? label_begin(host, second - 1) : second;
}

// Whether it is the one to be forgotten, of two.
static bool zone_matters_less(const struct zone *zone, const struct zone *than)
{
	return zone->known != than->known ? !zone->known : zone->told_ns < than->told_ns;
}

static struct zone *zone_of(const char *host)
{
	const char *name = zone_name(host);
	struct zone *least = NULL;
	for (unsigned i = 0; i < own.zone_count; i++) {
		struct zone *zone = &own.zones[i];
		if (strncmp(zone->name, name, ZONE_NAME_MAX - 1) == 0)
			return zone;
		if (zone->names == 0 && (least == NULL || zone_matters_less(zone, least)))
			least = zone;
	}
	if (own.zone_count < ZONES_MAX)
		least = &own.zones[own.zone_count++];
	*least = (struct zone){0};
	snprintf(least->name, sizeof(least->name), "%s", name);
	return least;
}

static enum pace zone_pace(const struct zone *zone, uint64_t now_ns)
{
	if (zone->slow_ns != 0 && now_ns - zone->slow_ns < SLOW_KEPT_NS)
		return PACE_SLOW;
	return zone->known ? PACE_KNOWN : PACE_UNKNOWN;
}

static void zone_learn(struct zone *zone, uint64_t took_ns, bool answered, uint64_t now_ns)
{
	bool slow = took_ns > SLOW_NS;
	zone->told_ns = now_ns;
	zone->known = !slow && (zone->known || answered); // that there is no such name says nothing of the others
	if (slow)
		zone->slow_ns = now_ns;
}

// ---- look-ups

static void look_up(const char *host, int flags, struct answer *ret_answer)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
	struct addrinfo *list = NULL;
	int code = getaddrinfo(host, NULL, &hints, &list);
	ret_answer->count = 0;
	ret_answer->status = code == 0 ? 0 : code == EAI_MEMORY ? -ENOMEM : code == EAI_AGAIN ? -EAGAIN : -ENOENT;
	for (struct addrinfo *at = list; at != NULL && ret_answer->count < RESOLVE_ADDRESSES_MAX; at = at->ai_next) {
		if (at->ai_addrlen <= sizeof(ret_answer->addresses[0]))
			memcpy(&ret_answer->addresses[ret_answer->count++], at->ai_addr, at->ai_addrlen);
	}
	if (list != NULL)
		freeaddrinfo(list);
}

static void deliver(void *arg)
{
	struct resolve *resolve = arg;
	struct answer *answer = &resolve->answer;
	for (unsigned i = 0; i < answer->count; i++)
		((struct sockaddr_in *)&answer->addresses[i])->sin_port = htons(resolve->port);
	if (resolve->done != NULL)
		resolve->done(resolve->arg, answer->status, answer->addresses, answer->count);
	free(resolve);
}

// What points to the look-up of that name, or to the end of all.
static struct lookup **lookup_link(const char *host)
{
	struct lookup **link = &own.lookups;
	while (*link != NULL && strcmp((*link)->host, host) != 0)
		link = &(*link)->next;
	return link;
}

static void lookup_remove(struct lookup *lookup)
{
	*lookup_link(lookup->host) = lookup->next;
	own.lookup_count--;
	lookup->zone->names--;
	free(lookup);
}

// NULL: no room for it.
static struct lookup *lookup_add(struct lookup **end, const char *host)
{
	struct zone *zone = zone_of(host);
	if (own.lookup_count >= names_most[zone_pace(zone, clock_mono_ns())])
		return NULL;
	struct lookup *lookup = calloc(1, sizeof(*lookup));
	if (lookup == NULL)
		return NULL;
	snprintf(lookup->host, sizeof(lookup->host), "%s", host);
	lookup->zone = zone;
	zone->names++;
	own.lookup_count++;
	*end = lookup;
	pthread_cond_signal(&own.more);
	return lookup;
}

// The oldest that may have a thread, NULL: none.
static struct lookup *lookup_due(uint64_t now_ns)
{
	unsigned held[PACES] = {0};
	for (const struct lookup *lookup = own.lookups; lookup != NULL; lookup = lookup->next) {
		if (lookup->began_ns == 0)
			continue;
		enum pace pace = now_ns - lookup->began_ns > SLOW_NS ? PACE_SLOW : lookup->pace;
		for (unsigned p = 0; p <= pace; p++)
			held[p]++;
	}
	for (struct lookup *lookup = own.lookups; lookup != NULL; lookup = lookup->next) {
		enum pace pace = zone_pace(lookup->zone, now_ns);
		if (lookup->began_ns != 0 || lookup->zone->running == ZONE_THREADS || held[pace] >= threads_most[pace])
			continue;
		lookup->pace = pace;
		return lookup;
	}
	return NULL;
}

static void lookup_end(struct lookup *lookup, const struct answer *answer)
{
	uint64_t now_ns = clock_mono_ns();
	lookup->zone->running--;
	zone_learn(lookup->zone, now_ns - lookup->began_ns, answer->status == 0, now_ns);
	for (struct resolve *resolve = lookup->askers, *next; resolve != NULL; resolve = next) {
		next = resolve->next;
		resolve->lookup = NULL;
		resolve->answer = *answer;
		control_post(&resolve->work, deliver, resolve);
	}
	lookup_remove(lookup);
	pthread_cond_broadcast(&own.more); // what it held up may go now, perhaps more than one
}

// ---- threads

static void *resolve_main(void *arg)
{
	unsigned life = (unsigned)(uintptr_t)arg;
	ENTERS(io_role);
	pthread_setname_np(pthread_self(), "resolve");
	pthread_mutex_lock(&own.lock);
	while (own.life == life) {
		struct answer answer;
		struct lookup *lookup = lookup_due(clock_mono_ns());
		if (lookup == NULL) {
			pthread_cond_wait(&own.more, &own.lock);
			continue;
		}
		lookup->began_ns = clock_mono_ns();
		lookup->zone->running++;
		pthread_mutex_unlock(&own.lock);
		look_up(lookup->host, AI_ADDRCONFIG, &answer);
		pthread_mutex_lock(&own.lock);
		if (own.life == life)
			lookup_end(lookup, &answer);
		else
			free(lookup); // resolve_finish has left it to us
	}
	pthread_mutex_unlock(&own.lock);
	return NULL;
}

int resolve_init(struct err *err)
{
	for (own.thread_count = 0; own.thread_count < RESOLVE_THREADS; own.thread_count++) {
		int code = pthread_create(&own.threads[own.thread_count], NULL, resolve_main, (void *)(uintptr_t)own.life);
		if (code != 0) {
			resolve_finish();
			return err_set(err, code, "cannot start the resolver: %s", strerror(code));
		}
	}
	return 0;
}

static void forget_all(void)
{
	for (struct lookup *lookup = own.lookups, *next; lookup != NULL; lookup = next) {
		next = lookup->next;
		for (struct resolve *resolve = lookup->askers, *after; resolve != NULL; resolve = after) {
			after = resolve->next;
			free(resolve);
		}
		if (lookup->began_ns == 0)
			free(lookup);
	}
	own.lookups = NULL;
	own.lookup_count = own.zone_count = 0;
}

// A look-up cannot be stopped. Who is in one gets a second to come back; then it is left to the end of the process, and should it
// come back before that, it finds that its life is over.
void resolve_finish(void)
{
	struct timespec limit;
	pthread_mutex_lock(&own.lock);
	own.life++;
	forget_all();
	pthread_cond_broadcast(&own.more);
	pthread_mutex_unlock(&own.lock);
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += FINISH_WAIT_S;
	while (own.thread_count > 0)
		if (pthread_timedjoin_np(own.threads[--own.thread_count], NULL, &limit) != 0)
			pthread_detach(own.threads[own.thread_count]);
}

// ---- from outside

struct resolve *resolve_start(const char *host, uint16_t port, resolve_fn *done, void *arg)
{
	struct resolve *resolve = calloc(1, sizeof(*resolve));
	if (resolve == NULL || strlen(host) >= sizeof(resolve->lookup->host)) {
		free(resolve);
		return NULL;
	}
	resolve->port = port;
	resolve->done = done;
	resolve->arg = arg;
	look_up(host, AI_NUMERICHOST, &resolve->answer);
	if (resolve->answer.status == 0) {
		control_post(&resolve->work, deliver, resolve);
		return resolve;
	}
	pthread_mutex_lock(&own.lock);
	struct lookup **link = lookup_link(host), *lookup = *link;
	if (lookup == NULL)
		lookup = lookup_add(link, host);
	if (lookup != NULL) {
		resolve->lookup = lookup;
		resolve->next = lookup->askers;
		lookup->askers = resolve;
	}
	pthread_mutex_unlock(&own.lock);
	if (lookup == NULL) {
		free(resolve);
		return NULL;
	}
	return resolve;
}

void resolve_cancel(struct resolve *resolve)
{
	if (resolve == NULL)
		return;
	pthread_mutex_lock(&own.lock);
	struct lookup *lookup = resolve->lookup;
	if (lookup != NULL) {
		struct resolve **link = &lookup->askers;
		while (*link != resolve)
			link = &(*link)->next;
		*link = resolve->next;
		if (lookup->askers == NULL && lookup->began_ns == 0)
			lookup_remove(lookup);
	}
	resolve->done = NULL; // an answer on its way is read on control only, and freed there
	pthread_mutex_unlock(&own.lock);
	if (lookup != NULL)
		free(resolve);
}
