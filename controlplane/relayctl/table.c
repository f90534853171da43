// SPDX-License-Identifier: ISC
//
// table.c - text in columns as wide as they need to be, and numbers as people read them.
//
// Runs on: any.

#include "controlplane/relayctl/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct table {
	const char *const *heads;
	unsigned columns;
	char **cells;
	size_t count, size;
};

struct table *table_create(const char *const *heads, unsigned columns)
{
	struct table *table = calloc(1, sizeof(*table));
	if (table == NULL)
		abort(); // a one-shot tool: nothing better to do without memory
	table->heads = heads;
	table->columns = columns;
	return table;
}

// Control characters of a name must not reach the terminal.
static void make_printable(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

void table_cell(struct table *table, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	make_printable(text);
	if (table->count == table->size) {
		table->size = table->size > 0 ? table->size * 2 : 64;
		table->cells = realloc(table->cells, table->size * sizeof(*table->cells));
		if (table->cells == NULL)
			abort();
	}
	table->cells[table->count] = strdup(text);
	if (table->cells[table->count] == NULL)
		abort();
	table->count++;
}

// Columns on the screen: bytes that begin a character.
static size_t width_of(const char *text)
{
	size_t width = 0;
	for (; *text != '\0'; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

static void print_row(const struct table *table, char *const *cells, const size_t *widths)
{
	for (unsigned c = 0; c < table->columns; c++) {
		const char *head = table->heads[c];
		const char *text = cells != NULL ? cells[c] : head[0] == '>' ? head + 1 : head;
		int pad = (int)(widths[c] - width_of(text));
		bool last = c + 1 == table->columns;
		if (head[0] == '>')
			printf("%*s%s%s", pad, "", text, last ? "" : "  ");
		else
			printf("%s%*s%s", text, last ? 0 : pad, "", last ? "" : "  ");
	}
	printf("\n");
}

void table_print(struct table *table)
{
	size_t widths[TABLE_COLUMNS_MAX] = {0};
	if (table->count == 0)
		return;
	for (unsigned c = 0; c < table->columns; c++)
		widths[c] = width_of(table->heads[c]) - (table->heads[c][0] == '>');
	for (size_t i = 0; i < table->count; i++) {
		size_t width = width_of(table->cells[i]);
		if (width > widths[i % table->columns])
			widths[i % table->columns] = width;
	}
	printf("%s", text_style("1"));
	print_row(table, NULL, widths);
	printf("%s", text_style("0"));
	for (size_t i = 0; i + table->columns <= table->count; i += table->columns)
		print_row(table, table->cells + i, widths);
}

void table_free(struct table *table)
{
	if (table == NULL)
		return;
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table);
}

const char *text_count(uint64_t count, char ret_text[static TEXT_BYTES])
{
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)count);
	char *out = ret_text;
	for (int i = 0; i < length; i++) {
		if (i > 0 && (length - i) % 3 == 0)
			*out++ = ' ';
		*out++ = digits[i];
	}
	*out = '\0';
	return ret_text;
}

const char *text_us(uint64_t us, char ret_text[static TEXT_BYTES])
{
	if (us < 1000)
		snprintf(ret_text, TEXT_BYTES, "%llu us", (unsigned long long)us);
	else if (us < 1000000)
		snprintf(ret_text, TEXT_BYTES, "%.1f ms", (double)us / 1e3);
	else
		snprintf(ret_text, TEXT_BYTES, "%.1f s", (double)us / 1e6);
	return ret_text;
}

const char *text_span(int64_t seconds, char ret_text[static TEXT_BYTES])
{
	long long s = seconds;
	if (s < 60)
		snprintf(ret_text, TEXT_BYTES, "%llds", s);
	else if (s < 3600)
		snprintf(ret_text, TEXT_BYTES, "%lldm %llds", s / 60, s % 60);
	else if (s < 86400)
		snprintf(ret_text, TEXT_BYTES, "%lldh %lldm", s / 3600, s / 60 % 60);
	else
		snprintf(ret_text, TEXT_BYTES, "%lldd %lldh", s / 86400, s / 3600 % 24);
	return ret_text;
}

const char *text_bytes(uint64_t bytes, char ret_text[static TEXT_BYTES])
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
	double value = (double)bytes;
	unsigned unit = 0;
	while (value >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1000;
		unit++;
	}
	snprintf(ret_text, TEXT_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
	return ret_text;
}

const char *text_clock(int64_t unix_ms, char ret_text[static TEXT_BYTES])
{
	time_t seconds = (time_t)(unix_ms / 1000);
	struct tm local;
	if (unix_ms == 0 || localtime_r(&seconds, &local) == NULL ||
		strftime(ret_text, TEXT_BYTES, "%Y-%m-%d %H:%M:%S", &local) == 0)
		snprintf(ret_text, TEXT_BYTES, "never");
	return ret_text;
}

const char *text_style(const char *code)
{
	static int colour = -1;
	static char escape[4][16];
	static unsigned turn;
	if (colour < 0)
		colour = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
	if (!colour)
		return "";
	char *text = escape[turn++ % 4];
	snprintf(text, sizeof(escape[0]), "\033[%sm", code);
	return text;
}
