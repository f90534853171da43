// SPDX-License-Identifier: ISC
//
// bench.c - the harness of every bench: cycles, percentiles, tables, plots and checks, printed and written as JSON.
//
// Runs on: any; one thread at a time reports.

#include "bench/bench.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>

#define TABLES_MAX 24
#define ROWS_MAX 64
#define POINTS_MAX 2048
#define PLOTS_MAX 12
#define NOTES_MAX 24
#define CHECKS_MAX 48
#define TEXT 112

struct table {
	char title[TEXT], columns[BENCH_COLUMNS_MAX][TEXT];
	unsigned columns_count, rows_count;
	char labels[ROWS_MAX][TEXT];
	double values[ROWS_MAX][BENCH_COLUMNS_MAX];
};

struct check {
	char what[TEXT];
	double value, limit;
	bool at_most, enforced;
};

struct plot {
	char title[TEXT], x[TEXT], y[TEXT];
	bool log_x;
};

struct point {
	unsigned plot;
	char series[TEXT];
	double x, y;
};

static struct {
	char name[TEXT], title[TEXT];
	const char *json;
	bool brief;
	int core;
	cpu_set_t allowed;
	double hz;
	uint64_t stamp_cost;
	struct table tables[TABLES_MAX];
	unsigned tables_count;
	char notes[NOTES_MAX][512];
	unsigned notes_count;
	struct check checks[CHECKS_MAX];
	unsigned checks_count;
	struct plot plots[PLOTS_MAX];
	unsigned plots_count;
	struct point points[POINTS_MAX];
	unsigned points_count;
} bench;

static uint64_t raw_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static double calibrate(void)
{
	uint64_t ns = raw_ns(), cycles = bench_now();
	while (raw_ns() - ns < 50000000)
		continue;
	return (double)(bench_now() - cycles) * 1e9 / (double)(raw_ns() - ns);
}

void bench_pin(int core)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(core, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

void bench_unpin(void)
{
	sched_setaffinity(0, sizeof(bench.allowed), &bench.allowed);
}

void bench_begin(int argc, char **argv, const char *name, const char *title)
{
	snprintf(bench.name, sizeof(bench.name), "%s", name);
	snprintf(bench.title, sizeof(bench.title), "%s", title);
	bench.brief = true;
	bench.core = -1;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--full") == 0)
			bench.brief = false;
		else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc)
			bench.json = argv[++i];
		else if (strcmp(argv[i], "--core") == 0 && i + 1 < argc)
			bench.core = atoi(argv[++i]);
		else if (strcmp(argv[i], "--short") != 0) {
			fprintf(stderr, "usage: %s_bench [--short | --full] [--core N] [--json FILE]\n", name);
			exit(2);
		}
	}
	sched_getaffinity(0, sizeof(bench.allowed), &bench.allowed);
	// The last core that is allowed: the first one serves most interrupts.
	for (int core = CPU_SETSIZE - 1; bench.core < 0 && core >= 0; core--)
		if (CPU_ISSET(core, &bench.allowed))
			bench.core = core;
	bench_pin(bench.core);
	bench.hz = calibrate();
	bench.stamp_cost = UINT64_MAX;
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t began = bench_now();
		bench.stamp_cost = MIN_OF(bench.stamp_cost, bench_now() - began);
	}
}

bool bench_short(void)
{
	return bench.brief;
}

int bench_core(void)
{
	return bench.core;
}

double bench_ns(double cycles)
{
	return cycles * 1e9 / bench.hz;
}

double bench_cycles_per_s(void)
{
	return bench.hz;
}

uint64_t bench_stamp_cost(void)
{
	return bench.stamp_cost;
}

// ---- series

void bench_add(struct bench_series *series, uint64_t value)
{
	if (series->count == series->size) {
		series->size = series->size ? series->size * 2 : 4096;
		series->values = realloc(series->values, series->size * sizeof(uint64_t));
		if (series->values == NULL)
			abort();
	}
	series->values[series->count++] = value;
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

double bench_percentile(struct bench_series *series, double percent)
{
	if (series->count == 0)
		return NAN;
	qsort(series->values, series->count, sizeof(uint64_t), ascending);
	size_t at = (size_t)(percent / 100 * (double)series->count);
	return (double)series->values[MIN_OF(at, series->count - 1u)];
}

double bench_mean(const struct bench_series *series)
{
	double sum = 0;
	for (unsigned i = 0; i < series->count; i++)
		sum += (double)series->values[i];
	return series->count ? sum / series->count : NAN;
}

void bench_free(struct bench_series *series)
{
	free(series->values);
	*series = (struct bench_series){0};
}

// ---- reporting

unsigned bench_table(const char *title, const char *columns)
{
	if (bench.tables_count == TABLES_MAX)
		abort();
	struct table *table = &bench.tables[bench.tables_count];
	snprintf(table->title, TEXT, "%s", title);
	for (const char *at = columns; at != NULL && table->columns_count < BENCH_COLUMNS_MAX;) {
		const char *end = strchr(at, '|');
		size_t length = end != NULL ? (size_t)(end - at) : strlen(at);
		snprintf(table->columns[table->columns_count++], TEXT, "%.*s", (int)length, at);
		at = end != NULL ? end + 1 : NULL;
	}
	return bench.tables_count++;
}

void bench_row(unsigned table_index, const char *label, const double *values, unsigned count)
{
	struct table *table = &bench.tables[table_index];
	if (table->rows_count == ROWS_MAX)
		abort();
	snprintf(table->labels[table->rows_count], TEXT, "%s", label);
	for (unsigned i = 0; i < BENCH_COLUMNS_MAX; i++)
		table->values[table->rows_count][i] = i < count ? values[i] : NAN;
	table->rows_count++;
}

void bench_note(const char *format, ...)
{
	if (bench.notes_count == NOTES_MAX)
		return;
	va_list args;
	va_start(args, format);
	vsnprintf(bench.notes[bench.notes_count++], sizeof(bench.notes[0]), format, args);
	va_end(args);
}

static void check_add(const char *what, double value, bool at_most, double limit, bool enforced)
{
	if (bench.checks_count == CHECKS_MAX)
		abort();
	struct check *check = &bench.checks[bench.checks_count++];
	*check = (struct check){.value = value, .limit = limit, .at_most = at_most, .enforced = enforced};
	snprintf(check->what, TEXT, "%s", what);
}

void bench_check(const char *what, double value, bool at_most, double limit)
{
	check_add(what, value, at_most, limit, true);
}

void bench_target(const char *what, double value, bool at_most, double limit)
{
	check_add(what, value, at_most, limit, false);
}

unsigned bench_plot(const char *title, const char *x, const char *y, bool log_x)
{
	if (bench.plots_count == PLOTS_MAX)
		abort();
	struct plot *plot = &bench.plots[bench.plots_count];
	snprintf(plot->title, TEXT, "%s", title);
	snprintf(plot->x, TEXT, "%s", x);
	snprintf(plot->y, TEXT, "%s", y);
	plot->log_x = log_x;
	return bench.plots_count++;
}

void bench_point(unsigned plot, const char *series, double x, double y)
{
	if (bench.points_count == POINTS_MAX)
		return;
	struct point *point = &bench.points[bench.points_count++];
	*point = (struct point){.plot = plot, .x = x, .y = y};
	snprintf(point->series, TEXT, "%s", series);
}

static bool check_holds(const struct check *check)
{
	return check->at_most ? check->value <= check->limit : check->value >= check->limit;
}

static void print_number(FILE *out, double value, int width)
{
	int decimals = fabs(value) < 10 ? 2 : fabs(value) < 100 ? 1 : 0;
	if (isnan(value))
		fprintf(out, "%*s", width, "-");
	else
		fprintf(out, "%*.*f", width, decimals, value);
}

static void print_table(const struct table *table)
{
	size_t label = strlen(table->columns[0]);
	for (unsigned r = 0; r < table->rows_count; r++)
		label = MAX_OF(label, strlen(table->labels[r]));
	printf("\n%s\n  %-*s", table->title, (int)label, table->columns[0]);
	for (unsigned c = 1; c < table->columns_count; c++)
		printf("  %*s", (int)MAX_OF(strlen(table->columns[c]), 8u), table->columns[c]);
	printf("\n");
	for (unsigned r = 0; r < table->rows_count; r++) {
		printf("  %-*s", (int)label, table->labels[r]);
		for (unsigned c = 1; c < table->columns_count; c++) {
			printf("  ");
			print_number(stdout, table->values[r][c - 1], (int)MAX_OF(strlen(table->columns[c]), 8u));
		}
		printf("\n");
	}
}

static void json_text(FILE *file, const char *text)
{
	fputc('"', file);
	for (const char *at = text; *at != '\0'; at++) {
		if (*at == '"' || *at == '\\')
			fputc('\\', file);
		fputc(*at, file);
	}
	fputc('"', file);
}

static void json_number(FILE *file, double value)
{
	if (isfinite(value))
		fprintf(file, "%.6g", value);
	else
		fputs("null", file);
}

static void json_tables(FILE *file)
{
	for (unsigned t = 0; t < bench.tables_count; t++) {
		const struct table *table = &bench.tables[t];
		fputs(t ? ",\n  {\"title\": " : "\n  {\"title\": ", file);
		json_text(file, table->title);
		fputs(", \"columns\": [", file);
		for (unsigned c = 0; c < table->columns_count; c++) {
			fputs(c ? ", " : "", file);
			json_text(file, table->columns[c]);
		}
		fputs("], \"rows\": [", file);
		for (unsigned r = 0; r < table->rows_count; r++) {
			fputs(r ? ",\n   [" : "\n   [", file);
			json_text(file, table->labels[r]);
			for (unsigned c = 1; c < table->columns_count; c++) {
				fputs(", ", file);
				json_number(file, table->values[r][c - 1]);
			}
			fputs("]", file);
		}
		fputs("]}", file);
	}
}

static void json_plots(FILE *file)
{
	for (unsigned p = 0; p < bench.plots_count; p++) {
		const struct plot *plot = &bench.plots[p];
		fputs(p ? ",\n  {\"title\": " : "\n  {\"title\": ", file);
		json_text(file, plot->title);
		fputs(", \"x\": ", file);
		json_text(file, plot->x);
		fputs(", \"y\": ", file);
		json_text(file, plot->y);
		fprintf(file, ", \"log_x\": %s, \"points\": [", plot->log_x ? "true" : "false");
		const char *comma = "";
		for (unsigned i = 0; i < bench.points_count; i++) {
			const struct point *point = &bench.points[i];
			if (point->plot != p)
				continue;
			fprintf(file, "%s[", comma);
			json_text(file, point->series);
			fputs(", ", file);
			json_number(file, point->x);
			fputs(", ", file);
			json_number(file, point->y);
			fputs("]", file);
			comma = ", ";
		}
		fputs("]}", file);
	}
}

static void json_write(FILE *file)
{
	fputs("{\"name\": ", file);
	json_text(file, bench.name);
	fputs(", \"title\": ", file);
	json_text(file, bench.title);
	fprintf(file, ", \"form\": \"%s\", \"tsc_hz\": %.0f,\n \"tables\": [", bench.brief ? "short" : "full", bench.hz);
	json_tables(file);
	fputs("],\n \"plots\": [", file);
	json_plots(file);
	fputs("],\n \"checks\": [", file);
	for (unsigned i = 0; i < bench.checks_count; i++) {
		const struct check *check = &bench.checks[i];
		fputs(i ? ",\n  {\"what\": " : "\n  {\"what\": ", file);
		json_text(file, check->what);
		fputs(", \"value\": ", file);
		json_number(file, check->value);
		fprintf(file, ", \"at_most\": %s, \"limit\": ", check->at_most ? "true" : "false");
		json_number(file, check->limit);
		fprintf(file, ", \"enforced\": %s, \"holds\": %s}", check->enforced ? "true" : "false",
			check_holds(check) ? "true" : "false");
	}
	fputs("],\n \"notes\": [", file);
	for (unsigned i = 0; i < bench.notes_count; i++) {
		fputs(i ? ", " : "", file);
		json_text(file, bench.notes[i]);
	}
	fputs("]}\n", file);
}

int bench_end(void)
{
	int status = 0;
	printf("%s: %s (%s form, TSC %.2f MHz, core %d)\n", bench.name, bench.title, bench.brief ? "short" : "full",
		bench.hz / 1e6, bench.core);
	for (unsigned t = 0; t < bench.tables_count; t++)
		print_table(&bench.tables[t]);
	printf("\n");
	for (unsigned i = 0; i < bench.notes_count; i++)
		printf("  %s\n", bench.notes[i]);
	for (unsigned i = 0; i < bench.checks_count; i++) {
		const struct check *check = &bench.checks[i];
		bool holds = check_holds(check);
		printf("  %s %s: ", check->enforced ? holds ? "ok    " : "FAILED" : holds ? "target reached" : "target missed",
			check->what);
		print_number(stdout, check->value, 0);
		printf(" (%s ", check->at_most ? "at most" : "at least");
		print_number(stdout, check->limit, 0);
		printf(")\n");
		status |= check->enforced && !holds;
	}
	if (bench.json != NULL) {
		FILE *file = fopen(bench.json, "w");
		if (file == NULL) {
			fprintf(stderr, "%s: %s\n", bench.json, strerror(errno));
			return 1;
		}
		json_write(file);
		if (fclose(file) != 0)
			status = 1;
	}
	return status;
}
