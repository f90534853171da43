// SPDX-License-Identifier: ISC
//
// table.h - text in columns as wide as they need to be, and numbers as people read them.
//
// Runs on: any.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TABLE_COLUMNS_MAX 12

struct table;

// One word per column; a leading '>' aligns it to the right. Cells of the last column are never padded.
struct table *table_create(const char *const *heads, unsigned columns);
__attribute__((format(printf, 2, 3))) void table_cell(struct table *table, const char *format, ...); // row by row
void table_print(struct table *table); // nothing when there is no row
void table_free(struct table *table);  // takes NULL

#define TEXT_BYTES 32
const char *text_count(uint64_t count, char ret_text[static TEXT_BYTES]);        // 1 234 567
const char *text_us(uint64_t us, char ret_text[static TEXT_BYTES]);              // 850 us, 1.2 ms, 3.4 s
const char *text_span(int64_t seconds, char ret_text[static TEXT_BYTES]);        // 3d 4h, 2h 13m, 45s
const char *text_bytes(uint64_t bytes, char ret_text[static TEXT_BYTES]);        // 12.3 MB
const char *text_clock(int64_t unix_ms, char ret_text[static TEXT_BYTES]);       // local date and time, "never" for 0
// Bold, red... when a person is looking; "" otherwise.
const char *text_style(const char *code);
