// SPDX-License-Identifier: ISC
//
// srtp.c - protect and unprotect SRTP and SRTCP in place: AES-GCM by direct calls, AES-CM with HMAC-SHA1 in batches.
//
// Runs on: worker. Nothing of a stream's state changes before its packet's tag was good.

#include "dataplane/gcm_key.h"
#include "dataplane/srtp_context.h"

#include "dataplane/hot.h"

#define RTCP_INDEX_BYTES 4
#define RTCP_E_BIT 0x80000000u
#define RTCP_HEADER_BYTES 8

// In constant time.
static bool tags_equal(const uint8_t *a, const uint8_t *b, size_t bytes)
{
	uint64_t difference = 0, x, y;
	size_t at = 0;
	for (; at + 8 <= bytes; at += 8) {
		memcpy(&x, a + at, 8);
		memcpy(&y, b + at, 8);
		difference |= x ^ y;
	}
	for (; at < bytes; at++)
		difference |= a[at] ^ b[at];
	return difference == 0;
}

static size_t tag_bytes(enum srtp_profile profile)
{
	return profile == SRTP_AES128_CM_SHA1_80 ? SRTP_CM_TAG_BYTES : SRTP_GCM_TAG_BYTES;
}

// Length of the RTP header with CSRCs and extension, 0 when the packet is too short for it.
static size_t rtp_header_bytes(const uint8_t *packet, size_t bytes)
{
	if (bytes < 12 || packet[0] >> 6 != 2)
		return 0;
	size_t header = 12 + 4 * (packet[0] & 15u);
	if (packet[0] & 0x10) {
		if (header + 4 > bytes)
			return 0;
		header += 4 + 4 * (size_t)get_be16(packet + header + 2);
	}
	return header <= bytes ? header : 0;
}

// ---- streams

static struct srtp_stream *stream_find(struct srtp_stream *streams, uint32_t ssrc)
{
	for (unsigned i = 0; i < SRTP_STREAMS_MAX; i++)
		if (streams[i].used && streams[i].ssrc == ssrc)
			return &streams[i];
	return NULL;
}

// A place for an SSRC that has just proven itself: a free one, else the one that has been silent longest.
static struct srtp_stream *stream_take(struct srtp_stream *streams, uint32_t ssrc)
{
	struct srtp_stream *place = &streams[0];
	for (unsigned i = 0; i < SRTP_STREAMS_MAX; i++) {
		if (!streams[i].used) {
			place = &streams[i];
			break;
		}
		if (streams[i].last_use < place->last_use)
			place = &streams[i];
	}
	*place = (struct srtp_stream){.ssrc = ssrc, .used = true};
	return place;
}

// RFC 3711 3.3.1: the 48-bit index that is nearest to the highest one seen.
static uint64_t index_estimate(const struct srtp_stream *stream, uint16_t seq)
{
	if (stream == NULL)
		return seq;
	uint16_t highest = (uint16_t)stream->index;
	uint64_t roc = stream->index >> 16;
	if (highest < 0x8000) {
		if (seq > highest && seq - highest > 0x8000 && roc > 0)
			roc--;
	} else if (highest - 0x8000 > seq) {
		roc++;
	}
	return roc << 16 | seq;
}

static bool replayed(const struct srtp_stream *stream, uint64_t index)
{
	if (stream == NULL || index > stream->index)
		return false;
	uint64_t behind = stream->index - index;
	return behind >= SRTP_REPLAY_BITS || (stream->window >> behind & 1) != 0;
}

// stream: of this SSRC, NULL when it has none yet.
static void stream_update(struct srtp_direction *direction, struct srtp_stream *streams, struct srtp_stream *stream,
	uint32_t ssrc, uint64_t index)
{
	if (UNLIKELY(stream == NULL)) {
		stream = stream_take(streams, ssrc);
		stream->index = index;
		stream->window = 1;
	} else if (index > stream->index) {
		uint64_t ahead = index - stream->index;
		stream->window = ahead >= SRTP_REPLAY_BITS ? 1 : stream->window << ahead | 1;
		stream->index = index;
	} else if (stream->index - index < SRTP_REPLAY_BITS) { // older only where we send: our own order is our own affair
		stream->window |= 1ull << (stream->index - index);
	}
	stream->last_use = ++direction->clock;
}

// ---- initialization vectors

static void iv_gcm(const uint8_t *salt, uint32_t ssrc, uint64_t index, uint8_t *iv)
{
	// RFC 7714 8.1: 0 | SSRC | ROC | SEQ, xor salt; 9.1 the same with the 31-bit index for SRTCP.
	put_be64(iv, (uint64_t)ssrc << 16 | (index >> 32 & 0xffff));
	put_be32(iv + 8, (uint32_t)index);
	uint64_t a, b;
	uint32_t c, d;
	memcpy(&a, iv, 8);
	memcpy(&b, salt, 8);
	memcpy(&c, iv + 8, 4);
	memcpy(&d, salt + 8, 4);
	a ^= b;
	c ^= d;
	memcpy(iv, &a, 8);
	memcpy(iv + 8, &c, 4);
}

static void iv_cm(const uint8_t *salt, uint32_t ssrc, uint64_t index, uint8_t *iv)
{
	// RFC 3711 4.1.1: salt * 2^16 xor SSRC * 2^64 xor index * 2^16.
	memcpy(iv, salt, 14);
	iv[14] = iv[15] = 0;
	uint8_t mix[12] = {0};
	put_be32(mix, ssrc);
	put_be16(mix + 4, (uint16_t)(index >> 32));
	put_be32(mix + 6, (uint32_t)index);
	for (int i = 0; i < 10; i++)
		iv[4 + i] ^= mix[i];
}

static void gcm_open(IMB_MGR *imb, enum srtp_profile profile, const struct srtp_cipher *cipher, uint8_t *data, size_t bytes,
	const uint8_t *iv, const uint8_t *aad, size_t aad_bytes, uint8_t *tag)
{
	struct gcm_context_data context;
	if (profile == SRTP_AEAD_AES_128_GCM)
		IMB_AES128_GCM_DEC(imb, &cipher->gcm, &context, data, data, bytes, iv, aad, aad_bytes, tag, SRTP_GCM_TAG_BYTES);
	else
		IMB_AES256_GCM_DEC(imb, &cipher->gcm, &context, data, data, bytes, iv, aad, aad_bytes, tag, SRTP_GCM_TAG_BYTES);
}

static void gcm_seal(IMB_MGR *imb, enum srtp_profile profile, const struct srtp_cipher *cipher, uint8_t *data, size_t bytes,
	const uint8_t *iv, const uint8_t *aad, size_t aad_bytes, uint8_t *tag)
{
	struct gcm_context_data context;
	if (profile == SRTP_AEAD_AES_128_GCM)
		IMB_AES128_GCM_ENC(imb, &cipher->gcm, &context, data, data, bytes, iv, aad, aad_bytes, tag, SRTP_GCM_TAG_BYTES);
	else
		IMB_AES256_GCM_ENC(imb, &cipher->gcm, &context, data, data, bytes, iv, aad, aad_bytes, tag, SRTP_GCM_TAG_BYTES);
}

// ---- AES-CM with HMAC-SHA1

struct cm_operation {
	const struct srtp_cipher *cipher;
	uint8_t *data;
	size_t cipher_at, cipher_bytes, hash_bytes;
	bool encrypt;
	uint8_t iv[16], tag[20];
};

static IMB_JOB *cm_submit(IMB_MGR *imb, struct cm_operation *operation, void *user)
{
	IMB_JOB *job = IMB_GET_NEXT_JOB(imb);
	memset(job, 0, sizeof(*job));
	job->cipher_mode = operation->cipher_bytes > 0 ? IMB_CIPHER_CNTR : IMB_CIPHER_NULL;
	job->hash_alg = IMB_AUTH_HMAC_SHA_1;
	job->cipher_direction = operation->encrypt ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	job->chain_order = operation->encrypt ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->enc_keys = job->dec_keys = operation->cipher->enc;
	job->key_len_in_bytes = 16;
	job->src = operation->data;
	job->dst = operation->data + operation->cipher_at;
	job->cipher_start_src_offset_in_bytes = operation->cipher_at;
	job->msg_len_to_cipher_in_bytes = operation->cipher_bytes;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_hash_in_bytes = operation->hash_bytes;
	job->iv = operation->iv;
	job->iv_len_in_bytes = 16;
	job->auth_tag_output = operation->tag;
	job->auth_tag_output_len_in_bytes = SRTP_CM_TAG_BYTES;
	job->u.HMAC._hashed_auth_key_xor_ipad = operation->cipher->ipad;
	job->u.HMAC._hashed_auth_key_xor_opad = operation->cipher->opad;
	job->user_data = user;
	return IMB_SUBMIT_JOB_NOCHECK(imb);
}

static void cm_one(IMB_MGR *imb, struct cm_operation *operation)
{
	cm_submit(imb, operation, NULL);
	while (IMB_FLUSH_JOB(imb) != NULL)
		continue;
}

// What is known of one packet between parsing and the check of its tag.
struct opening {
	struct srtp_job *job;
	struct srtp_stream *stream; // NULL: the SSRC is new
	uint64_t index;
	uint32_t ssrc;
	size_t header, body; // bytes in front of what is encrypted; bytes without the tag
};

static enum drop opening_begin(struct opening *opening, struct srtp_job *job, size_t tag)
{
	struct srtp_direction *direction = &job->srtp->remote;
	if (UNLIKELY(job->bytes < 12 + tag))
		return DROP_SRTP_SHORT;
	opening->job = job;
	opening->body = job->bytes - tag;
	opening->header = rtp_header_bytes(job->packet, opening->body);
	if (UNLIKELY(opening->header == 0))
		return DROP_SRTP_SHORT;
	opening->ssrc = get_be32(job->packet + 8);
	opening->stream = stream_find(direction->rtp_streams, opening->ssrc);
	opening->index = index_estimate(opening->stream, get_be16(job->packet + 2));
	return UNLIKELY(replayed(opening->stream, opening->index)) ? DROP_SRTP_REPLAY : DROP_NONE;
}

static enum drop opening_end(struct opening *opening, bool good)
{
	struct srtp_direction *direction = &opening->job->srtp->remote;
	if (UNLIKELY(!good))
		return DROP_SRTP_AUTH;
	stream_update(direction, direction->rtp_streams, opening->stream, opening->ssrc, opening->index);
	opening->job->bytes = (uint32_t)opening->body;
	return DROP_NONE;
}

static enum drop open_gcm(IMB_MGR *imb, struct srtp_job *job)
{
	struct opening opening;
	struct srtp_direction *direction = &job->srtp->remote;
	enum drop drop = opening_begin(&opening, job, SRTP_GCM_TAG_BYTES);
	if (UNLIKELY(drop != DROP_NONE))
		return drop;
	uint8_t iv[12], tag[SRTP_GCM_TAG_BYTES];
	iv_gcm(direction->rtp_salt, opening.ssrc, opening.index, iv);
	gcm_open(imb, direction->profile, &direction->rtp, job->packet + opening.header, opening.body - opening.header, iv,
		job->packet, opening.header, tag);
	return opening_end(&opening, tags_equal(tag, job->packet + opening.body, SRTP_GCM_TAG_BYTES));
}

// AES-CM goes through ipsec-mb's queue: a packet comes out some packets later.
struct opening_cm {
	struct opening opening;
	uint8_t tag[SRTP_CM_TAG_BYTES];
	struct cm_operation operation;
};

static IMB_JOB *open_cm_begin(IMB_MGR *imb, struct opening_cm *cm)
{
	struct opening *opening = &cm->opening;
	struct srtp_job *job = opening->job;
	struct srtp_direction *direction = &job->srtp->remote;
	memcpy(cm->tag, job->packet + opening->body, sizeof(cm->tag));
	cm->operation.cipher = &direction->rtp;
	cm->operation.data = job->packet;
	cm->operation.cipher_at = opening->header;
	cm->operation.cipher_bytes = opening->body - opening->header;
	cm->operation.encrypt = false;
	cm->operation.hash_bytes = opening->body + 4;
	// The tag has been copied out: the ROC takes its place, since it is authenticated behind the packet.
	put_be32(job->packet + opening->body, (uint32_t)(opening->index >> 16));
	iv_cm(direction->rtp_salt, opening->ssrc, opening->index, cm->operation.iv);
	return cm_submit(imb, &cm->operation, cm);
}

static void cm_finished(IMB_JOB *imb_job)
{
	if (imb_job == NULL)
		return;
	struct opening_cm *cm = imb_job->user_data;
	struct opening *opening = &cm->opening;
	// Once more: the burst may hold the same packet twice, or the place was given to another SSRC meanwhile.
	opening->stream = stream_find(opening->job->srtp->remote.rtp_streams, opening->ssrc);
	opening->job->drop = replayed(opening->stream, opening->index)
				     ? DROP_SRTP_REPLAY
				     : opening_end(opening, tags_equal(cm->operation.tag, cm->tag, sizeof(cm->tag)));
}

static void cm_flush(IMB_MGR *imb)
{
	for (IMB_JOB *job; (job = IMB_FLUSH_JOB(imb)) != NULL;)
		cm_finished(job);
}

static void open_cm(IMB_MGR *imb, struct opening_cm *cm, struct srtp_job *job)
{
	// An SSRC's first packets decide its rollover counter: each is finished before the next is looked at.
	bool known = job->bytes >= 12 && stream_find(job->srtp->remote.rtp_streams, get_be32(job->packet + 8)) != NULL;
	if (UNLIKELY(!known))
		cm_flush(imb);
	job->drop = opening_begin(&cm->opening, job, SRTP_CM_TAG_BYTES);
	if (UNLIKELY(job->drop != DROP_NONE))
		return;
	cm_finished(open_cm_begin(imb, cm));
	if (UNLIKELY(!known))
		cm_flush(imb);
}

void srtp_prefetch(const struct srtp_mgr *mgr, const struct srtp *srtp)
{
	__builtin_prefetch(&srtp->remote, 1);
	gcm_key_prefetch(&srtp->remote.rtp, mgr->rtp_lines);
}

void srtp_unprotect_burst(struct srtp_mgr *mgr, struct srtp_job *jobs, unsigned count)
{
	struct opening_cm openings[SRTP_BURST_MAX];
	unsigned queued = 0;
	count = MIN_OF(count, SRTP_BURST_MAX);
	for (unsigned i = 0; i < count; i++) {
		if (LIKELY(jobs[i].srtp->remote.profile != SRTP_AES128_CM_SHA1_80))
			jobs[i].drop = open_gcm(mgr->imb, &jobs[i]);
		else
			open_cm(mgr->imb, &openings[queued++], &jobs[i]);
	}
	if (queued > 0)
		cm_flush(mgr->imb);
}

// ---- SRTCP

enum drop srtcp_unprotect(struct srtp_mgr *mgr, struct srtp *srtp, uint8_t *packet, uint32_t *bytes)
{
	size_t tag_size = tag_bytes(srtp->remote.profile);
	if (*bytes < RTCP_HEADER_BYTES + RTCP_INDEX_BYTES + tag_size)
		return DROP_SRTP_SHORT;
	struct srtp_direction *direction = &srtp->remote;
	bool gcm = direction->profile != SRTP_AES128_CM_SHA1_80;
	size_t body = *bytes - RTCP_INDEX_BYTES - tag_size;
	size_t index_at = gcm ? *bytes - RTCP_INDEX_BYTES : body;
	size_t tag_at = gcm ? body : *bytes - tag_size;
	uint32_t word = get_be32(packet + index_at), ssrc = get_be32(packet + 4);
	uint32_t index = word & ~RTCP_E_BIT;
	bool encrypted = (word & RTCP_E_BIT) != 0;
	struct srtp_stream *stream = stream_find(direction->rtcp_streams, ssrc);
	if (replayed(stream, index))
		return DROP_SRTCP_REPLAY;
	bool good;
	if (gcm) {
		uint8_t iv[12], tag[SRTP_GCM_TAG_BYTES], aad[RTCP_HEADER_BYTES + RTCP_INDEX_BYTES];
		iv_gcm(direction->rtcp_salt, ssrc, index, iv);
		if (!encrypted) // RFC 7714 9.3: everything is associated data; no peer of ours sends that
			return DROP_SRTCP_AUTH;
		memcpy(aad, packet, RTCP_HEADER_BYTES);
		put_be32(aad + RTCP_HEADER_BYTES, word);
		gcm_open(mgr->imb, direction->profile, &direction->rtcp, packet + RTCP_HEADER_BYTES, body - RTCP_HEADER_BYTES, iv, aad,
			sizeof(aad), tag);
		good = tags_equal(tag, packet + tag_at, tag_size);
	} else {
		struct cm_operation operation = {.cipher = &direction->rtcp, .data = packet, .cipher_at = RTCP_HEADER_BYTES,
			.cipher_bytes = encrypted ? body - RTCP_HEADER_BYTES : 0, .hash_bytes = body + RTCP_INDEX_BYTES};
		iv_cm(direction->rtcp_salt, ssrc, index, operation.iv);
		cm_one(mgr->imb, &operation);
		good = tags_equal(operation.tag, packet + tag_at, tag_size);
	}
	if (!good)
		return DROP_SRTCP_AUTH;
	stream_update(direction, direction->rtcp_streams, stream, ssrc, index);
	*bytes = (uint32_t)body;
	return DROP_NONE;
}

int srtcp_protect(struct srtp_mgr *mgr, struct srtp *srtp, uint8_t *packet, uint32_t *bytes)
{
	struct srtp_direction *direction = &srtp->local;
	uint32_t body = *bytes, ssrc = get_be32(packet + 4);
	if (body < RTCP_HEADER_BYTES)
		return -EINVAL;
	if (direction->rtcp_index == ~RTCP_E_BIT) // RFC 3711 9.2: the keys are used up
		return -EOVERFLOW;
	uint32_t word = ++direction->rtcp_index | RTCP_E_BIT;
	if (direction->profile != SRTP_AES128_CM_SHA1_80) {
		uint8_t iv[12], aad[RTCP_HEADER_BYTES + RTCP_INDEX_BYTES];
		iv_gcm(direction->rtcp_salt, ssrc, direction->rtcp_index, iv);
		memcpy(aad, packet, RTCP_HEADER_BYTES);
		put_be32(aad + RTCP_HEADER_BYTES, word);
		gcm_seal(mgr->imb, direction->profile, &direction->rtcp, packet + RTCP_HEADER_BYTES, body - RTCP_HEADER_BYTES, iv, aad,
			sizeof(aad), packet + body);
		put_be32(packet + body + SRTP_GCM_TAG_BYTES, word);
		*bytes = body + SRTP_GCM_TAG_BYTES + RTCP_INDEX_BYTES;
		return 0;
	}
	struct cm_operation operation = {.cipher = &direction->rtcp, .data = packet, .cipher_at = RTCP_HEADER_BYTES,
		.cipher_bytes = body - RTCP_HEADER_BYTES, .hash_bytes = body + RTCP_INDEX_BYTES, .encrypt = true};
	iv_cm(direction->rtcp_salt, ssrc, direction->rtcp_index, operation.iv);
	put_be32(packet + body, word);
	cm_one(mgr->imb, &operation);
	memcpy(packet + body + RTCP_INDEX_BYTES, operation.tag, SRTP_CM_TAG_BYTES);
	*bytes = body + RTCP_INDEX_BYTES + SRTP_CM_TAG_BYTES;
	return 0;
}

int srtp_protect(struct srtp_mgr *mgr, struct srtp *srtp, uint8_t *packet, uint32_t *bytes)
{
	struct srtp_direction *direction = &srtp->local;
	uint32_t body = *bytes;
	size_t header = rtp_header_bytes(packet, body);
	if (header == 0)
		return -EINVAL;
	uint32_t ssrc = get_be32(packet + 8);
	struct srtp_stream *stream = stream_find(direction->rtp_streams, ssrc);
	uint64_t index = index_estimate(stream, get_be16(packet + 2));
	if (direction->profile != SRTP_AES128_CM_SHA1_80) {
		uint8_t iv[12];
		iv_gcm(direction->rtp_salt, ssrc, index, iv);
		gcm_seal(mgr->imb, direction->profile, &direction->rtp, packet + header, body - header, iv, packet, header, packet + body);
		*bytes = body + SRTP_GCM_TAG_BYTES;
	} else {
		struct cm_operation operation = {.cipher = &direction->rtp, .data = packet, .cipher_at = header,
			.cipher_bytes = body - header, .hash_bytes = body + 4, .encrypt = true};
		iv_cm(direction->rtp_salt, ssrc, index, operation.iv);
		put_be32(packet + body, (uint32_t)(index >> 16));
		cm_one(mgr->imb, &operation);
		memcpy(packet + body, operation.tag, SRTP_CM_TAG_BYTES);
		*bytes = body + SRTP_CM_TAG_BYTES;
	}
	stream_update(direction, direction->rtp_streams, stream, ssrc, index);
	return 0;
}
