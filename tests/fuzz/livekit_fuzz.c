// SPDX-License-Identifier: ISC
//
// livekit_fuzz.c - no message of a server makes the decoder or the questions asked of its result misbehave.
//
// Runs on: any.
#include "controlplane/livekit.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	Livekit__SignalResponse *message = livekit_decode(data, bytes);
	if (message == NULL)
		return 0;
	(void)livekit_message_name(message);
	struct sdp_candidate candidate;
	struct sdp_answer answer;
	switch (message->message_case) {
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN:
		for (size_t i = 0; i < message->join->n_other_participants; i++)
			(void)livekit_pick_track(message->join->other_participants[i], "TR_x");
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_UPDATE:
		for (size_t i = 0; i < message->update->n_participants; i++)
			(void)livekit_pick_track(message->update->participants[i], "TR_x");
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER:
		if (sdp_read_answer(message->answer->sdp, strlen(message->answer->sdp), &answer, NULL) == 0) {
			for (unsigned i = 0; i < answer.section_count; i++)
				(void)strlen(livekit_section_track(message->answer, &answer.sections[i]));
		}
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRICKLE:
		(void)livekit_read_candidate(message->trickle->candidateinit, &candidate);
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE:
		(void)livekit_leave_kind(message->leave);
		(void)strlen(livekit_reason_text((int)message->leave->reason));
		break;
	default:
		break;
	}
	livekit_free(message);
	return 0;
}
