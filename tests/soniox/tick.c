// SPDX-License-Identifier: ISC
//
// tick.c - the stand-in's clock: real time times a speed, plus jumps.
//
// Runs on: any; a mutex guards the three numbers.
#include "tests/soniox/tick.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static double base_ms, speed_now = 1;
static uint64_t since_ns;

static double now_locked(void)
{
	return base_ms + (double)(clock_mono_ns() - since_ns) / 1e6 * speed_now;
}

void tick_init(double speed)
{
	pthread_mutex_lock(&lock);
	base_ms = 0;
	since_ns = clock_mono_ns();
	speed_now = speed;
	pthread_mutex_unlock(&lock);
}

uint64_t tick_ms(void)
{
	pthread_mutex_lock(&lock);
	double now = now_locked();
	pthread_mutex_unlock(&lock);
	return (uint64_t)now;
}

void tick_set_speed(double speed)
{
	pthread_mutex_lock(&lock);
	base_ms = now_locked();
	since_ns = clock_mono_ns();
	speed_now = speed;
	pthread_mutex_unlock(&lock);
}

void tick_advance(uint64_t ms)
{
	pthread_mutex_lock(&lock);
	base_ms += (double)ms;
	pthread_mutex_unlock(&lock);
}

double tick_speed(void)
{
	pthread_mutex_lock(&lock);
	double speed = speed_now;
	pthread_mutex_unlock(&lock);
	return speed;
}

int tick_poll_ms(uint64_t due)
{
	pthread_mutex_lock(&lock);
	double left = (double)due - now_locked(), speed = speed_now;
	pthread_mutex_unlock(&lock);
	if (due == TICK_NEVER)
		return -1;
	if (left <= 0)
		return 0;
	if (speed <= 0)
		return -1;
	double real = ceil(left / speed);
	return real > INT_MAX ? INT_MAX : (int)real;
}
