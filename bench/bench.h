// SPDX-License-Identifier: ISC
//
// bench.h - the harness of every bench: cycles, percentiles, tables, plots and checks, printed and written as JSON.
//
// Runs on: any; one thread at a time reports.
//
// A bench is a program bench/NAME_bench. It says --short or --full, --json FILE, --core N. Everything that is compared is
// measured in the same run; a check is a ratio, never a time.
#pragma once

#include "dataplane/base.h"

#if !defined(__x86_64__)
#error "the cycle counter of this harness is x86's"
#endif

// Time stamp counter; nothing that comes before in the program is still under way.
static inline uint64_t bench_now(void)
{
	uint32_t low, high;
	__asm__ volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

// Keeps a result alive without storing it.
static inline void bench_keep(const void *p)
{
	__asm__ volatile("" ::"g"(p) : "memory");
}

// Reads the arguments, pins the calling thread to the core, calibrates the counter against CLOCK_MONOTONIC_RAW.
void bench_begin(int argc, char **argv, const char *name, const char *title);
bool bench_short(void);
int bench_core(void);
void bench_pin(int core);
void bench_unpin(void); // back to every core: before threads are made that must not share the pinned one
double bench_ns(double cycles);
double bench_cycles_per_s(void);
uint64_t bench_stamp_cost(void); // cycles of two bench_now in a row
// Prints and writes everything; the exit status of the program: 1 when a check failed.
int bench_end(void);

// ---- values and their distribution
struct bench_series {
	uint64_t *values;
	unsigned count, size;
};
void bench_add(struct bench_series *series, uint64_t value); // doubles its memory when full
double bench_percentile(struct bench_series *series, double percent); // sorts
double bench_mean(const struct bench_series *series);
void bench_free(struct bench_series *series);

// ---- what is reported. Texts are copied.
#define BENCH_COLUMNS_MAX 8
// Columns are separated by '|'; the first one is the row's label.
unsigned bench_table(const char *title, const char *columns);
void bench_row(unsigned table, const char *label, const double *values, unsigned count); // a NaN prints as -
void bench_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
// value against its limit: at_most or at least. Counts into the exit status.
void bench_check(const char *what, double value, bool at_most, double limit);
// A target that is shown and not enforced.
void bench_target(const char *what, double value, bool at_most, double limit);
unsigned bench_plot(const char *title, const char *x, const char *y, bool log_x);
void bench_point(unsigned plot, const char *series, double x, double y);
