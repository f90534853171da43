// SPDX-License-Identifier: ISC
//
// dtls_record.c - open and seal DTLS 1.2 records in place, by direct calls of ipsec-mb.
//
// Runs on: worker. The expanded keys are kept, asked for ahead of their use: expanding them anew for each record took a quarter
// of a frame's time (bench/NOTES.md).

#include "dataplane/dtls_record.h"
#include "dataplane/gcm_key.h"
#include "dataplane/srtp_context.h"

#include "dataplane/hot.h"

#define VERSION_1_2 0xfefd
#define LENGTH_MAX ((1u << 14) + 2048) // RFC 6347 4.1
#define WINDOW_BITS 64
#define SEQ_MAX ((1ull << 48) - 1)
#define HANDSHAKE_HEADER_BYTES 12
_Static_assert(sizeof(struct gcm_key_data) <= DTLS_RECORD_EXPANDED_BYTES, "an expanded key has its room");

enum { CERTIFICATE = 11, CERTIFICATE_VERIFY = 15, CLIENT_KEY_EXCHANGE = 16 };
enum { ALERT_FATAL = 2, ALERT_CLOSE_NOTIFY = 0 };

struct gcm_call {
	uint8_t iv[12], aad[13], tag[DTLS_RECORD_TAG_BYTES];
};

static void gcm_prepare(struct gcm_call *call, const uint8_t *salt, const uint8_t *head, size_t plain_bytes)
{
	memcpy(call->iv, salt, 4);
	memcpy(call->iv + 4, head + DTLS_RECORD_HEADER_BYTES, DTLS_RECORD_NONCE_BYTES);
	memcpy(call->aad, head + 3, 8); // epoch and sequence number
	memcpy(call->aad + 8, head, 3); // type and version
	put_be16(call->aad + 11, (uint16_t)plain_bytes);
}

static bool tags_equal(const uint8_t *a, const uint8_t *b)
{
	uint8_t difference = 0;
	for (size_t i = 0; i < DTLS_RECORD_TAG_BYTES; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

static bool replayed(const struct dtls_record *record, uint64_t seq)
{
	if (record->window == 0 || seq > record->top)
		return false;
	uint64_t behind = record->top - seq;
	return behind >= WINDOW_BITS || (record->window >> behind & 1) != 0;
}

static void window_update(struct dtls_record *record, uint64_t seq)
{
	if (record->window == 0 || seq > record->top) {
		uint64_t ahead = seq - record->top;
		record->window = record->window == 0 || ahead >= WINDOW_BITS ? 1 : record->window << ahead | 1;
		record->top = seq;
	} else {
		record->window |= 1ull << (record->top - seq);
	}
}

static void expand_keys(struct dtls_record *record, IMB_MGR *imb)
{
	struct gcm_key_data *remote = (void *)record->remote_expanded, *local = (void *)record->local_expanded;
	if (record->key_bytes == 16) {
		IMB_AES128_GCM_PRE(imb, record->remote_key, remote);
		IMB_AES128_GCM_PRE(imb, record->local_key, local);
	} else {
		IMB_AES256_GCM_PRE(imb, record->remote_key, remote);
		IMB_AES256_GCM_PRE(imb, record->local_key, local);
	}
	record->expanded = true;
}

static bool decrypt(struct dtls_record *record, IMB_MGR *imb, uint8_t *head, size_t plain_bytes)
{
	struct gcm_context_data context;
	struct gcm_call call;
	uint8_t *data = head + DTLS_RECORD_HEAD_BYTES;
	if (UNLIKELY(!record->expanded))
		expand_keys(record, imb);
	const struct gcm_key_data *key = (const void *)record->remote_expanded;
	gcm_prepare(&call, record->remote_salt, head, plain_bytes);
	if (LIKELY(record->key_bytes == 16))
		IMB_AES128_GCM_DEC(imb, key, &context, data, data, plain_bytes, call.iv, call.aad, sizeof(call.aad),
			call.tag, sizeof(call.tag));
	else
		IMB_AES256_GCM_DEC(imb, key, &context, data, data, plain_bytes, call.iv, call.aad, sizeof(call.aad),
			call.tag, sizeof(call.tag));
	return tags_equal(call.tag, data + plain_bytes);
}

// Nothing of epoch 0 is authentic: all it can do is to ask for our last flight again.
static enum drop open_epoch_0(const struct dtls_record *record, const uint8_t *head, size_t length,
	struct dtls_plain *ret_plain)
{
	if (record->flight_bytes == 0)
		return DROP_DTLS_UNEXPECTED;
	if (head[0] == DTLS_CHANGE_CIPHER)
		return DROP_NONE;
	if (head[0] != DTLS_HANDSHAKE || length < HANDSHAKE_HEADER_BYTES)
		return DROP_DTLS_UNEXPECTED;
	uint8_t message = head[DTLS_RECORD_HEADER_BYTES];
	if (message != CERTIFICATE && message != CERTIFICATE_VERIFY && message != CLIENT_KEY_EXCHANGE)
		return DROP_DTLS_UNEXPECTED; // a ClientHello: a new peer comes by signalling or not at all
	ret_plain->kind = DTLS_PLAIN_REPEAT;
	return DROP_NONE;
}

static void open_content(uint8_t type, struct dtls_plain *plain)
{
	if (LIKELY(type == DTLS_APPLICATION))
		plain->kind = DTLS_PLAIN_DATA;
	else if (type == DTLS_ALERT && plain->bytes == 2 &&
		 (plain->data[0] == ALERT_FATAL || plain->data[1] == ALERT_CLOSE_NOTIFY))
		plain->kind = DTLS_PLAIN_CLOSE;
}

enum drop dtls_record_open(struct dtls_record *record, struct srtp_mgr *mgr, uint8_t *datagram, size_t bytes, size_t *at,
	struct dtls_plain *ret_plain)
{
	uint8_t *head = datagram + *at;
	size_t left = bytes - *at;
	*ret_plain = (struct dtls_plain){.kind = DTLS_PLAIN_NOTHING};
	*at = bytes;
	if (UNLIKELY(left < DTLS_RECORD_HEADER_BYTES || head[1] != VERSION_1_2 >> 8))
		return DROP_DTLS_MALFORMED;
	size_t length = get_be16(head + 11);
	if (UNLIKELY(length > left - DTLS_RECORD_HEADER_BYTES || length > LENGTH_MAX))
		return DROP_DTLS_MALFORMED;
	*at = bytes - left + DTLS_RECORD_HEADER_BYTES + length;
	uint16_t epoch = get_be16(head + 3);
	if (UNLIKELY(epoch == 0))
		return open_epoch_0(record, head, length, ret_plain);
	if (UNLIKELY(epoch != 1 || get_be16(head + 1) != VERSION_1_2))
		return DROP_DTLS_UNEXPECTED;
	if (UNLIKELY(length < DTLS_RECORD_NONCE_BYTES + DTLS_RECORD_TAG_BYTES))
		return DROP_DTLS_BAD_RECORD;
	uint64_t seq = get_be64(head + 3) & SEQ_MAX;
	if (UNLIKELY(replayed(record, seq)))
		return DROP_DTLS_REPLAY;
	size_t plain_bytes = length - DTLS_RECORD_NONCE_BYTES - DTLS_RECORD_TAG_BYTES;
	if (UNLIKELY(!decrypt(record, mgr->imb, head, plain_bytes)))
		return DROP_DTLS_BAD_RECORD;
	window_update(record, seq);
	ret_plain->data = head + DTLS_RECORD_HEAD_BYTES;
	ret_plain->bytes = plain_bytes;
	open_content(head[0], ret_plain);
	return DROP_NONE;
}

size_t dtls_record_seal(struct dtls_record *record, struct srtp_mgr *mgr, enum dtls_content type, uint8_t *room,
	size_t plain_bytes)
{
	struct gcm_context_data context;
	struct gcm_call call;
	uint8_t *data = room + DTLS_RECORD_HEAD_BYTES;
	if (UNLIKELY(record->next_seq > SEQ_MAX || plain_bytes > 1u << 14))
		return 0;
	room[0] = (uint8_t)type;
	put_be16(room + 1, VERSION_1_2);
	put_be64(room + 3, 1ull << 48 | record->next_seq++);
	put_be16(room + 11, (uint16_t)(DTLS_RECORD_NONCE_BYTES + plain_bytes + DTLS_RECORD_TAG_BYTES));
	put_be64(room + DTLS_RECORD_HEADER_BYTES, record->next_nonce++);
	gcm_prepare(&call, record->local_salt, room, plain_bytes);
	if (UNLIKELY(!record->expanded))
		expand_keys(record, mgr->imb);
	const struct gcm_key_data *key = (const void *)record->local_expanded;
	if (LIKELY(record->key_bytes == 16))
		IMB_AES128_GCM_ENC(mgr->imb, key, &context, data, data, plain_bytes, call.iv, call.aad, sizeof(call.aad),
			data + plain_bytes, DTLS_RECORD_TAG_BYTES);
	else
		IMB_AES256_GCM_ENC(mgr->imb, key, &context, data, data, plain_bytes, call.iv, call.aad, sizeof(call.aad),
			data + plain_bytes, DTLS_RECORD_TAG_BYTES);
	return plain_bytes + DTLS_RECORD_EXPANSION;
}

void dtls_record_prefetch(const struct dtls_record *record, const struct srtp_mgr *mgr, bool seal)
{
	__builtin_prefetch(record, 1);
	gcm_key_prefetch(record->remote_expanded, mgr->record_lines);
	if (seal)
		gcm_key_prefetch(record->local_expanded, mgr->record_lines);
}

size_t dtls_record_seal_close(struct dtls_record *record, struct srtp_mgr *mgr, uint8_t *room)
{
	room[DTLS_RECORD_HEAD_BYTES] = 1; // warning
	room[DTLS_RECORD_HEAD_BYTES + 1] = ALERT_CLOSE_NOTIFY;
	return dtls_record_seal(record, mgr, DTLS_ALERT, room, 2);
}

const uint8_t *dtls_record_flight(struct dtls_record *record, uint64_t now_ns, size_t *ret_bytes)
{
	if (record->flight_bytes == 0 ||
		(record->flight_sent_ns != 0 && now_ns - record->flight_sent_ns < DTLS_RECORD_FLIGHT_PAUSE_NS))
		return NULL;
	record->flight_sent_ns = now_ns;
	*ret_bytes = record->flight_bytes;
	return record->flight;
}
