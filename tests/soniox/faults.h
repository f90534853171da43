// SPDX-License-Identifier: ISC
//
// faults.h - what the stand-in was told to do wrong: for the next connections, or for one that lives.
//
// Runs on: any; one lock.
#pragma once

#include "tests/soniox/failure.h"

enum fault_kind {
#define FAULT(name, word, what) FAULT_##name,
#include "tests/soniox/faults.def"
#undef FAULT
	FAULT_KINDS
};

enum fault_when {
	FAULT_AT_CONNECT, // before the handshake
	FAULT_AT_OPEN,    // after it
	FAULT_AT_START,   // after the start message
	FAULT_AT_END,     // after the end of audio
	FAULT_AT_AUDIO,   // `at` ms of audio received
	FAULT_AT_TIME,    // `at` ms after opening
	FAULT_AT_FINALS,  // `at` final words sent
};

struct fault {
	uint64_t id;
	enum fault_kind kind;
	enum fault_when when;
	uint64_t at;
	uint64_t connection; // this one; 0: the next `skip` are spared, then the next `connections` have it (given 0: all)
	uint64_t skip, connections;
	enum failure failure;
	uint32_t code, status, ms, bytes, bytes_per_s;
	char *text; // text, hex or location; malloc'ed, NULL: none
	bool acted; // of a connection's copy
};

const char *fault_name(enum fault_kind kind);
const char *fault_what(enum fault_kind kind);

// Reads a fault of a test (tests/soniox/README.md) and keeps it. Returns its id, or a negative errno.
int64_t faults_add(json_t *description, struct err *err);
void faults_clear(void);
json_t *faults_json(void);

enum fault_stage {
	FAULT_ACCEPTED,  // before any byte: only `refuse`
	FAULT_ARRIVING,  // a handshake came: what waits for the next connection
	FAULT_LIVING,    // only what names the connection
};

// Takes what connection `id` has to do at that stage. Copies up to `size`; the caller frees their texts.
size_t faults_take(uint64_t id, enum fault_stage stage, struct fault *ret, size_t size);
