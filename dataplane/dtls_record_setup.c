// SPDX-License-Identifier: ISC
//
// dtls_record_setup.c - the record layer's state out of an established SSL object, by OpenSSL's public calls alone.
//
// Runs on: handshake; dtls_record_destroy: control.

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "dataplane/dtls_record.h"

#define MASTER_BYTES 48
#define RANDOM_BYTES 32
#define SALT_BYTES 4
#define LABEL "key expansion"

void dtls_trace_sent(struct dtls_trace *trace, const uint8_t *datagram, size_t bytes)
{
	for (size_t at = 0; bytes - at >= DTLS_RECORD_HEAD_BYTES - 7;) { // the shortest record is a ChangeCipherSpec: 14 bytes
		const uint8_t *head = datagram + at;
		size_t record = DTLS_RECORD_HEADER_BYTES + (size_t)get_be16(head + 11);
		if (record > bytes - at)
			return;
		if (get_be16(head + 3) == 1 && record >= DTLS_RECORD_HEAD_BYTES) {
			trace->encrypted = true;
			trace->seq = get_be64(head + 3) & ((1ull << 48) - 1);
			trace->nonce = get_be64(head + DTLS_RECORD_HEADER_BYTES);
		}
		if (head[0] == DTLS_CHANGE_CIPHER)
			trace->flight_bytes = 0;
		if ((head[0] == DTLS_CHANGE_CIPHER || trace->flight_bytes > 0) &&
			record <= sizeof(trace->flight) - trace->flight_bytes) {
			memcpy(trace->flight + trace->flight_bytes, head, record);
			trace->flight_bytes += record;
		}
		at += record;
	}
}

// RFC 5246 6.3 with the suite's hash: client key, server key, client salt, server salt.
static bool key_block(SSL *ssl, const char *digest, uint8_t *ret_block, size_t bytes)
{
	uint8_t master[MASTER_BYTES], seed[sizeof(LABEL) - 1 + 2 * RANDOM_BYTES];
	size_t master_bytes = SSL_SESSION_get_master_key(SSL_get_session(ssl), master, sizeof(master));
	memcpy(seed, LABEL, sizeof(LABEL) - 1);
	SSL_get_server_random(ssl, seed + sizeof(LABEL) - 1, RANDOM_BYTES);
	SSL_get_client_random(ssl, seed + sizeof(LABEL) - 1 + RANDOM_BYTES, RANDOM_BYTES);
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
	EVP_KDF_CTX *context = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, master, master_bytes),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed, sizeof(seed)),
		OSSL_PARAM_construct_end(),
	};
	bool ok = context != NULL && master_bytes == MASTER_BYTES && EVP_KDF_derive(context, ret_block, bytes, params) == 1;
	EVP_KDF_CTX_free(context);
	EVP_KDF_free(kdf);
	OPENSSL_cleanse(master, sizeof(master));
	return ok;
}

struct dtls_record *dtls_record_create(SSL *ssl, bool client, const struct dtls_trace *trace, struct err *err)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
	int nid = cipher != NULL ? SSL_CIPHER_get_cipher_nid(cipher) : NID_undef;
	size_t key = nid == NID_aes_128_gcm ? 16 : nid == NID_aes_256_gcm ? 32 : 0;
	if (key == 0 || !trace->encrypted || !SSL_is_init_finished(ssl)) {
		err_set(err, EPROTO, "the DTLS connection has no AES-GCM record layer to take over");
		return NULL;
	}
	uint8_t block[2 * (32 + SALT_BYTES)];
	struct dtls_record *record = NULL;
	if (posix_memalign((void **)&record, CACHE_LINE_BYTES, sizeof(*record)) != 0) {
		err_set(err, ENOMEM, "no memory for the DTLS record layer");
		return NULL;
	}
	memset(record, 0, sizeof(*record));
	if (!key_block(ssl, EVP_MD_get0_name(SSL_CIPHER_get_handshake_digest(cipher)), block, 2 * (key + SALT_BYTES))) {
		err_set(err, EIO, "the DTLS keys cannot be derived");
		dtls_record_destroy(record);
		return NULL;
	}
	const uint8_t *salts = block + 2 * key;
	memcpy(record->local_key, block + (client ? 0 : key), key);
	memcpy(record->remote_key, block + (client ? key : 0), key);
	memcpy(record->local_salt, salts + (client ? 0 : SALT_BYTES), SALT_BYTES);
	memcpy(record->remote_salt, salts + (client ? SALT_BYTES : 0), SALT_BYTES);
	record->key_bytes = (uint8_t)key;
	record->next_seq = trace->seq + 1;
	record->next_nonce = trace->nonce + 1;
	if (!client) { // the client's last flight was answered, or the handshake would not be over
		memcpy(record->flight, trace->flight, trace->flight_bytes);
		record->flight_bytes = (uint8_t)trace->flight_bytes;
	}
	OPENSSL_cleanse(block, sizeof(block));
	return record;
}

void dtls_record_destroy(struct dtls_record *record)
{
	if (record == NULL)
		return;
	OPENSSL_cleanse(record, sizeof(*record));
	free(record);
}
