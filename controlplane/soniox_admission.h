// SPDX-License-Identifier: ISC
//
// soniox_admission.h - who may open a connection to Soniox, and when: the account's limits kept on our side.
//
// Two limits: places (connections at once, one of them kept for rotation) and starts (in any minute). Who must wait does so in a
// line that can be seen. Starts keep a small distance, so that a thousand users who return at once do not arrive at once. Pure.
//
// Runs on: control.
#pragma once

#include "dataplane/base.h"

#define SONIOX_STARTS_MAX 10000
#define SONIOX_SPACING_MS 20
#define SONIOX_WINDOW_MS 62000 // a minute, and what the network may squeeze it by

struct soniox_ticket {
	struct soniox_ticket *next;
	bool waiting;  // in the line
	bool placed;   // holds a place; a stream keeps it while it reconnects
	bool rotation; // may take the kept place, and goes first
	uint64_t since_ns;
	void *owner;
};

struct soniox_admission {
	unsigned places, per_minute, kept;
	unsigned placed; // tickets with a place
	struct soniox_ticket *first, **last;
	uint64_t *starts; // the last per_minute of them, a ring
	unsigned next_start;
	uint64_t last_start_ns, paused_until_ns;
	unsigned pauses; // in a row
};

int soniox_admission_init(struct soniox_admission *admission, unsigned places, unsigned per_minute); // -ENOMEM
void soniox_admission_finish(struct soniox_admission *admission);
// Gets in line; nothing when it stands there. A ticket that holds a place waits for a start only.
void soniox_admission_ask(struct soniox_admission *admission, struct soniox_ticket *ticket, uint64_t now_ns);
// The next ticket that may start, out of the line and with its place; NULL: nobody now. *ret_again_ns: when to ask again,
// UINT64_MAX: when a place is given back or somebody asks.
struct soniox_ticket *soniox_admission_next(struct soniox_admission *admission, uint64_t now_ns, uint64_t *ret_again_ns);
// Out of the line, and its place given back. Idempotent.
void soniox_admission_release(struct soniox_admission *admission, struct soniox_ticket *ticket);
// The place of one passes to another: the connection of to replaces that of from.
void soniox_admission_pass(struct soniox_ticket *from, struct soniox_ticket *to);
// The server says that the limit is reached: nobody starts for 5 s, then 10, up to 60, with jitter from random.
void soniox_admission_refused(struct soniox_admission *admission, uint32_t random, uint64_t now_ns);
void soniox_admission_accepted(struct soniox_admission *admission); // a start went well
// 1: next, 0: not in line.
unsigned soniox_admission_position(const struct soniox_admission *admission, const struct soniox_ticket *ticket);
unsigned soniox_admission_waiting(const struct soniox_admission *admission);
