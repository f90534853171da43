// SPDX-License-Identifier: ISC
//
// resolve_test.c - names that nobody answers for hold up nobody else: the system's resolver and the clock are the test's own.
//
// Runs on: the test, which asks control to do things; control; io (the resolver's threads).

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>

#include "controlplane/control.h"
#include "controlplane/resolve.h"

#define LIMIT_S 30
#define CALLS_MAX 4096

int __real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret);
int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // of all below
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool released;                        // names that begin with "stuck" have their answer
static unsigned inside, calls, answers, acts; // look-ups that hang; all ever begun; answers given; acts of control
static char called[CALLS_MAX][64];
static _Atomic(int) skew_s;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
	int rc = __real_clock_gettime(clock, ret);
	if (clock == CLOCK_MONOTONIC)
		ret->tv_sec += atomic_load(&skew_s);
	return rc;
}

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	if (hints->ai_flags & AI_NUMERICHOST)
		return __real_getaddrinfo(node, service, hints, ret);
	struct addrinfo numeric = *hints;
	numeric.ai_flags = AI_NUMERICHOST;
	pthread_mutex_lock(&lock);
	snprintf(called[calls++ % CALLS_MAX], sizeof(called[0]), "%s", node);
	inside++;
	pthread_cond_broadcast(&changed);
	while (strncmp(node, "stuck", 5) == 0 && !released)
		pthread_cond_wait(&changed, &lock);
	inside--;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return strncmp(node, "none", 4) == 0 ? EAI_NONAME : __real_getaddrinfo("192.0.2.7", NULL, &numeric, ret);
}

static unsigned calls_of(const char *name)
{
	unsigned count = 0;
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < calls; i++)
		count += strcmp(called[i], name) == 0;
	pthread_mutex_unlock(&lock);
	return count;
}

// Waits until *count is that much; lock is not held.
static void wait_until(const unsigned *count, unsigned value, const char *what)
{
	struct timespec limit;
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += LIMIT_S;
	pthread_mutex_lock(&lock);
	int rc = 0;
	while (*count != value && rc == 0)
		rc = pthread_cond_timedwait(&changed, &lock, &limit);
	unsigned is = *count;
	pthread_mutex_unlock(&lock);
	if (is != value)
		fail_msg("%u %s, not %u", is, what, value);
}

static void release(bool on)
{
	pthread_mutex_lock(&lock);
	released = on;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

// ---- control

struct ask {
	const char *host;
	uint16_t port;
	struct resolve *resolve;
	bool taken, cancel;
	struct control_work work;
	// answered
	unsigned count, answers;
	int status;
	struct sockaddr_in address;
};

static void on_answer(void *arg, int status, const struct sockaddr_storage *addresses, unsigned count)
{
	struct ask *ask = arg;
	pthread_mutex_lock(&lock);
	ask->resolve = NULL;
	ask->answers++;
	ask->status = status;
	ask->count = count;
	if (count > 0)
		memcpy(&ask->address, &addresses[0], sizeof(ask->address));
	answers++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void act(void *arg)
{
	ENTERS(control_role);
	struct ask *ask = arg;
	if (ask->cancel) {
		resolve_cancel(ask->resolve);
	} else {
		ask->resolve = resolve_start(ask->host, ask->port, on_answer, ask);
		ask->taken = ask->resolve != NULL;
	}
	pthread_mutex_lock(&lock);
	acts++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void start(struct ask *ask, const char *host, uint16_t port)
{
	pthread_mutex_lock(&lock);
	unsigned expected = acts + 1;
	pthread_mutex_unlock(&lock);
	if (host != NULL)
		*ask = (struct ask){.host = host, .port = port};
	control_post(&ask->work, act, ask);
	wait_until(&acts, expected, "acts of control");
}

static void cancel(struct ask *ask)
{
	ask->cancel = true;
	start(ask, NULL, 0);
}

static void *control_main(void *unused)
{
	control_run();
	return NULL;
}

static pthread_t control_thread;

static int begin(void **state)
{
	struct err err = {""};
	inside = calls = answers = acts = 0;
	released = false;
	assert_int_equal(control_init(&err), 0);
	assert_int_equal(resolve_init(&err), 0);
	return pthread_create(&control_thread, NULL, control_main, NULL);
}

static int end(void **state)
{
	release(true);
	control_stop();
	pthread_join(control_thread, NULL);
	resolve_finish();
	control_finish();
	return 0;
}

// ---- cases

#define MANY 20

static char names[RESOLVE_QUEUE_MAX + 8][32];
static struct ask many[RESOLVE_QUEUE_MAX + 8];

static void start_many(unsigned count, const char *format)
{
	for (unsigned i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), format, i);
		start(&many[i], names[i], 1);
		assert_true(many[i].taken);
	}
}

static void dead_name_holds_up_nobody(void **state)
{
	struct ask dead, other;
	start(&dead, "stuck.test", 1);
	wait_until(&inside, 1, "hang");
	start(&other, "quick.elsewhere.test", 7880);
	wait_until(&answers, 1, "answers");
	assert_int_equal(other.status, 0);
	assert_int_equal(ntohs(other.address.sin_port), 7880);
	assert_int_equal(ntohl(other.address.sin_addr.s_addr), 0xc0000207);
	start(&other, "none.elsewhere.test", 1);
	wait_until(&answers, 2, "answers");
	assert_int_equal(other.status, -ENOENT);
	assert_int_equal(dead.answers, 0);
	release(true);
	wait_until(&answers, 3, "answers");
	assert_int_equal(dead.status, 0);
}

static void names_of_one_zone_do_not_get_all_threads(void **state)
{
	struct ask other;
	start_many(MANY, "stuck%u.dead.test");
	wait_until(&inside, 2, "hang");
	start(&other, "quick.elsewhere.test", 1);
	wait_until(&answers, 1, "answers");
	assert_int_equal(other.answers, 1);
	// Nor do strangers share one because of a registry's two labels.
	start(&many[MANY], "stuck.a.co.uk", 1);
	start(&many[MANY + 1], "stuck.b.co.uk", 1);
	wait_until(&inside, 4, "hang");
	start(&other, "quick.other.co.uk", 1);
	wait_until(&answers, 2, "answers");
	assert_int_equal(other.answers, 1);
	release(true);
	wait_until(&answers, MANY + 4, "answers");
}

static void who_is_known_has_a_thread_among_strangers(void **state)
{
	struct ask known, nothing, stranger;
	start(&known, "quick.known.test", 1);
	wait_until(&answers, 1, "answers");
	start(&nothing, "none.known.test", 1); // tells nothing of its neighbours
	wait_until(&answers, 2, "answers");
	start_many(MANY, "stuck.dead%u.test");
	wait_until(&inside, RESOLVE_THREADS - 2, "hang");
	start(&stranger, "quick.stranger.test", 1);
	start(&known, "quick.known.test", 1);
	wait_until(&answers, 3, "answers");
	assert_int_equal(known.answers, 1);
	assert_int_equal(calls_of("quick.stranger.test"), 0);
	release(true);
	wait_until(&answers, MANY + 4, "answers");
	assert_int_equal(stranger.answers, 1);
}

static void who_was_slow_leaves_threads_to_strangers(void **state)
{
	struct ask stranger;
	start_many(RESOLVE_THREADS - 2, "stuck.slow%u.test");
	wait_until(&inside, RESOLVE_THREADS - 2, "hang");
	atomic_fetch_add(&skew_s, 2);
	release(true);
	wait_until(&answers, RESOLVE_THREADS - 2, "answers");
	release(false);
	start_many(RESOLVE_THREADS - 2, "stuck.again.slow%u.test");
	wait_until(&inside, RESOLVE_THREADS / 2 - 1, "hang");
	start(&stranger, "quick.stranger.test", 1);
	wait_until(&answers, RESOLVE_THREADS - 1, "answers");
	assert_int_equal(stranger.answers, 1);
	// Not for ever.
	release(true);
	wait_until(&answers, 2 * RESOLVE_THREADS - 3, "answers");
	release(false);
	atomic_fetch_add(&skew_s, 61);
	start_many(RESOLVE_THREADS - 2, "stuck.later.slow%u.test");
	wait_until(&inside, RESOLVE_THREADS - 2, "hang");
}

static void who_asks_for_the_same_shares_the_answer(void **state)
{
	struct ask asks[5];
	for (unsigned i = 0; i < ARRAY_SIZE(asks); i++)
		start(&asks[i], "stuck.shared.test", (uint16_t)(1000 + i));
	wait_until(&inside, 1, "hang");
	cancel(&asks[2]);
	release(true);
	wait_until(&answers, 4, "answers");
	assert_int_equal(calls_of("stuck.shared.test"), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(asks); i++) {
		assert_int_equal(asks[i].answers, i != 2);
		if (i != 2)
			assert_int_equal(ntohs(asks[i].address.sin_port), 1000 + i);
	}
}

static void what_nobody_waits_for_is_not_begun(void **state)
{
	struct ask first, second, third, literal;
	start(&first, "stuck1.dead.test", 1);
	start(&second, "stuck2.dead.test", 1);
	wait_until(&inside, 2, "hang");
	start(&third, "stuck3.dead.test", 1);
	cancel(&third);
	cancel(&first); // it hangs: nobody hears of it
	start(&literal, "192.0.2.1", 1);
	wait_until(&answers, 1, "answers");
	assert_int_equal(literal.status, 0);
	release(true);
	wait_until(&answers, 2, "answers");
	wait_until(&inside, 0, "hang");
	assert_int_equal(calls_of("stuck3.dead.test"), 0);
	assert_int_equal(first.answers + third.answers, 0);
	assert_int_equal(second.answers, 1);
}

static void queue_is_bounded_and_has_room_for_who_is_known(void **state)
{
	struct ask known, refused;
	start(&known, "quick.known.test", 1);
	wait_until(&answers, 1, "answers");
	start_many(RESOLVE_QUEUE_MAX / 2, "stuck.dead%u.test");
	start(&refused, "quick.stranger.test", 1);
	assert_false(refused.taken);
	start(&known, "quick.known.test", 1);
	wait_until(&answers, 2, "answers");
	for (unsigned i = 0; i < RESOLVE_QUEUE_MAX / 2; i++)
		cancel(&many[i]);
	start(&refused, "stuck.stranger.test", 1);
	assert_true(refused.taken);
	release(true);
	wait_until(&answers, 3, "answers");
}

static void end_does_not_wait_for_who_hangs(void **state)
{
	struct ask dead, other;
	struct err err = {""};
	start(&dead, "stuck.test", 1);
	wait_until(&inside, 1, "hang");
	resolve_finish();
	assert_int_equal(resolve_init(&err), 0);
	start(&other, "quick.test", 1);
	wait_until(&answers, 1, "answers");
	release(true);
	wait_until(&inside, 0, "hang");
	start(&other, "quick.again.test", 1);
	wait_until(&answers, 2, "answers");
	assert_int_equal(dead.answers, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		CASE(dead_name_holds_up_nobody),
		CASE(names_of_one_zone_do_not_get_all_threads),
		CASE(who_is_known_has_a_thread_among_strangers),
		CASE(who_was_slow_leaves_threads_to_strangers),
		CASE(who_asks_for_the_same_shares_the_answer),
		CASE(what_nobody_waits_for_is_not_begun),
		CASE(queue_is_bounded_and_has_room_for_who_is_known),
		CASE(end_does_not_wait_for_who_hangs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
