// SPDX-License-Identifier: ISC
//
// hearing.h - what a source hears: the packets of one transport, or of two while a slot changes legs.
//
// Control publishes a hearing (one pointer, RCU); the source's home worker follows it with the next packet. A transport that
// is not named in it is not heard. Generations are those of legs and only label what was heard.
#pragma once

#include "dataplane/base.h"

enum hearing_mode {
	HEARING_NOBODY, // the user was left
	HEARING_ONE,    // main alone
	HEARING_ALIGN,  // main; other brings a second copy of the same publication, which is measured against main's
	HEARING_BOTH,   // both, each packet once; main is the newer leg
	HEARING_HOLD,   // main; other brings another publication, whose packets wait for their turn
};

struct hearing_leg {
	uint64_t transport;  // transport_id, 0: none
	uint32_t generation; // of the leg
	uint32_t voice;      // generation in which the leg's target was chosen: data packets stamped earlier are another's
};

struct hearing {
	enum hearing_mode mode;
	// Another voice than before: nothing is concealed across, the next cell carries PCM_F_FENCE; also if another hearing is published
	// before the worker has seen this one.
	bool fence;
	struct hearing_leg main, other;
};
