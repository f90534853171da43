// SPDX-License-Identifier: ISC
//
// dtls.c - the DTLS 1.2 handshake with OpenSSL over datagrams in memory.
//
// Runs on: handshake.

#include "dataplane/dtls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/time.h>

#define EXPORTER_LABEL "EXTRACTOR-dtls_srtp" // RFC 5764 4.2
#define FIRST_TIMEOUT_US 100000u             // LAN first: RFC 6347's second would cost a caption
#define TIMEOUT_MAX_US 2000000u
#define EARLY_MAX 8
#define EARLY_BYTES_MAX 1500
#define DATAGRAM_BYTES_MAX 2048 // one packet buffer

struct dtls_identity {
	SSL_CTX *context;
	BIO_METHOD *bio_method;
	char fingerprint[DTLS_FINGERPRINT_TEXT];
};

struct dtls {
	SSL *ssl;
	enum dtls_role role;
	enum dtls_state state;
	char peer_fingerprint[DTLS_FINGERPRINT_TEXT];
	dtls_send_fn *send;
	void *arg;
	const uint8_t *datagram; // the one BIO_read takes
	size_t datagram_bytes;
	char failure[160];
	const char *plain_alert; // what the last one said that came without encryption, OpenSSL's text
	struct dtls_trace trace; // of the records sent
	struct {
		uint8_t data[EARLY_BYTES_MAX];
		size_t bytes;
	} *early; // records that came before their keys
	unsigned early_count;
};

static const enum srtp_profile all_profiles[] = {
	SRTP_AEAD_AES_256_GCM, SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80, SRTP_PROFILE_NONE};

// ---- a BIO that is one datagram in, one datagram out

static int bio_write(BIO *bio, const char *data, int bytes)
{
	struct dtls *dtls = BIO_get_data(bio);
	dtls_trace_sent(&dtls->trace, (const uint8_t *)data, (size_t)bytes);
	if (dtls->send != NULL)
		dtls->send(dtls->arg, (const uint8_t *)data, (size_t)bytes);
	return bytes;
}

static int bio_read(BIO *bio, char *data, int size)
{
	struct dtls *dtls = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	if (dtls->datagram == NULL) {
		BIO_set_retry_read(bio);
		return -1;
	}
	int bytes = (int)MIN_OF(dtls->datagram_bytes, (size_t)size);
	memcpy(data, dtls->datagram, (size_t)bytes);
	dtls->datagram = NULL;
	return bytes;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)pointer;
	switch (command) {
	case BIO_CTRL_FLUSH:
	case BIO_CTRL_DGRAM_SET_CONNECTED:
	case BIO_CTRL_DGRAM_SET_PEER:
		return 1;
	case BIO_CTRL_DGRAM_QUERY_MTU:
	case BIO_CTRL_DGRAM_GET_FALLBACK_MTU:
		return DTLS_MTU;
	case BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT:
		return 0;
	default:
		(void)number;
		return 0;
	}
}

// ---- identity

static void fingerprint_text(const uint8_t *hash, size_t bytes, char *ret_text)
{
	for (size_t i = 0; i < bytes; i++)
		snprintf(ret_text + i * 3, 4, "%02X%s", hash[i], i + 1 < bytes ? ":" : "");
}

static int certificate_fingerprint(X509 *certificate, char *ret_text)
{
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned bytes = 0;
	if (X509_digest(certificate, EVP_sha256(), hash, &bytes) != 1 || bytes != 32)
		return -EIO;
	fingerprint_text(hash, bytes, ret_text);
	return 0;
}

// Any certificate is let through here: WebRTC trusts the fingerprint of the SDP, compared when the handshake ends.
static int accept_certificate(int preverified, X509_STORE_CTX *store)
{
	(void)preverified;
	(void)store;
	return 1;
}

// NULL: out of memory.
static X509 *certificate_make(EVP_PKEY *key)
{
	X509 *certificate = X509_new();
	if (certificate == NULL)
		return NULL;
	X509_NAME *name = X509_get_subject_name(certificate);
	bool ok = X509_set_version(certificate, 2) == 1 &&
		  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), clock_mono_ns()) == 1 &&
		  X509_gmtime_adj(X509_getm_notBefore(certificate), -86400) != NULL &&
		  X509_gmtime_adj(X509_getm_notAfter(certificate), 86400L * 3650) != NULL &&
		  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"relay", -1, -1, 0) == 1 &&
		  X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
		  X509_sign(certificate, key, EVP_sha256()) > 0;
	if (!ok) {
		X509_free(certificate);
		return NULL;
	}
	return certificate;
}

struct dtls_identity *dtls_identity_create(struct err *err)
{
	struct dtls_identity *identity = calloc(1, sizeof(*identity));
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = key != NULL ? certificate_make(key) : NULL;
	bool ok = identity != NULL && certificate != NULL;
	if (ok) {
		identity->context = SSL_CTX_new(DTLS_method());
		identity->bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "datagram");
		ok = identity->context != NULL && identity->bio_method != NULL &&
		     certificate_fingerprint(certificate, identity->fingerprint) == 0;
	}
	if (ok) {
		SSL_CTX *context = identity->context;
		BIO_meth_set_write(identity->bio_method, bio_write);
		BIO_meth_set_read(identity->bio_method, bio_read);
		BIO_meth_set_ctrl(identity->bio_method, bio_ctrl);
		SSL_CTX_set_min_proto_version(context, DTLS1_2_VERSION);
		SSL_CTX_set_max_proto_version(context, DTLS1_2_VERSION);
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, accept_certificate);
		SSL_CTX_set_options(context, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
		SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
		ok = SSL_CTX_use_certificate(context, certificate) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1 &&
		     SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384") == 1 &&
		     SSL_CTX_set_cipher_list(context,
			     "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
			     "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384") == 1;
	}
	X509_free(certificate);
	EVP_PKEY_free(key);
	if (!ok) {
		err_set(err, EIO, "cannot make the DTLS certificate");
		dtls_identity_destroy(identity);
		return NULL;
	}
	return identity;
}

void dtls_identity_destroy(struct dtls_identity *identity)
{
	if (identity == NULL)
		return;
	SSL_CTX_free(identity->context);
	BIO_meth_free(identity->bio_method);
	free(identity);
}

const char *dtls_identity_fingerprint(const struct dtls_identity *identity)
{
	return identity->fingerprint;
}

// ---- one connection

static const char *profile_word(enum srtp_profile profile)
{
	switch (profile) {
	case SRTP_AEAD_AES_256_GCM:
		return "SRTP_AEAD_AES_256_GCM";
	case SRTP_AEAD_AES_128_GCM:
		return "SRTP_AEAD_AES_128_GCM";
	case SRTP_AES128_CM_SHA1_80:
		return "SRTP_AES128_CM_SHA1_80";
	default:
		return NULL;
	}
}

static unsigned timer_us(SSL *ssl, unsigned previous_us)
{
	(void)ssl;
	return previous_us == 0 ? FIRST_TIMEOUT_US : MIN_OF(previous_us * 2, TIMEOUT_MAX_US);
}

struct dtls *dtls_create(struct dtls_identity *identity, enum dtls_role role, const char *peer_fingerprint,
	const enum srtp_profile *profiles, dtls_send_fn *send, void *arg, struct err *err)
{
	char list[128] = "";
	for (const enum srtp_profile *p = profiles ? profiles : all_profiles; *p != SRTP_PROFILE_NONE; p++) {
		const char *word = profile_word(*p);
		if (word != NULL && strlen(list) + strlen(word) + 2 < sizeof(list))
			strcat(strcat(list, list[0] ? ":" : ""), word);
	}
	struct dtls *dtls = calloc(1, sizeof(*dtls));
	BIO *bio = dtls != NULL ? BIO_new(identity->bio_method) : NULL;
	if (dtls != NULL)
		dtls->ssl = SSL_new(identity->context);
	if (bio == NULL || dtls->ssl == NULL || SSL_set_tlsext_use_srtp(dtls->ssl, list) != 0) {
		err_set(err, ENOMEM, "cannot make a DTLS connection");
		BIO_free(bio);
		dtls_destroy(dtls);
		return NULL;
	}
	dtls->role = role;
	dtls->send = send;
	dtls->arg = arg;
	snprintf(dtls->peer_fingerprint, sizeof(dtls->peer_fingerprint), "%s", peer_fingerprint);
	BIO_set_data(bio, dtls);
	BIO_set_init(bio, 1);
	SSL_set_bio(dtls->ssl, bio, bio);
	SSL_set_mtu(dtls->ssl, DTLS_MTU);
	DTLS_set_timer_cb(dtls->ssl, timer_us);
	if (role == DTLS_CLIENT)
		SSL_set_connect_state(dtls->ssl);
	else
		SSL_set_accept_state(dtls->ssl);
	return dtls;
}

void dtls_destroy(struct dtls *dtls)
{
	if (dtls == NULL)
		return;
	dtls->send = NULL; // SSL_free must not speak
	SSL_free(dtls->ssl);
	free(dtls->early);
	free(dtls);
}

__attribute__((format(printf, 2, 3))) static void fail(struct dtls *dtls, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(dtls->failure, sizeof(dtls->failure), format, args);
	va_end(args);
	dtls->state = DTLS_FAILED;
}

static void verify_peer(struct dtls *dtls)
{
	char text[DTLS_FINGERPRINT_TEXT] = "";
	X509 *certificate = SSL_get1_peer_certificate(dtls->ssl);
	int ret = certificate != NULL ? certificate_fingerprint(certificate, text) : -ENOENT;
	X509_free(certificate);
	if (ret < 0)
		fail(dtls, "the peer sent no certificate");
	else if (strcasecmp(text, dtls->peer_fingerprint) != 0)
		fail(dtls, "the peer's certificate does not match the fingerprint of its SDP");
	else if (SSL_get_selected_srtp_profile(dtls->ssl) == NULL)
		fail(dtls, "no SRTP protection profile in common");
	else
		dtls->state = DTLS_ESTABLISHED;
	if (dtls->state == DTLS_FAILED)
		SSL_shutdown(dtls->ssl);
}

static void handshake_step(struct dtls *dtls)
{
	ERR_clear_error();
	int ret = SSL_do_handshake(dtls->ssl);
	if (ret == 1) {
		verify_peer(dtls);
		return;
	}
	int why = SSL_get_error(dtls->ssl, ret);
	if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
		return;
	unsigned long code = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(code);
	fail(dtls, "the handshake failed: %s", reason != NULL ? reason : "closed by the peer");
	ERR_clear_error();
}

void dtls_start(struct dtls *dtls)
{
	if (dtls->role == DTLS_CLIENT && dtls->state == DTLS_HANDSHAKING)
		handshake_step(dtls);
}

// Data and alerts under the new keys. OpenSSL would mix them into its own state; the record layer opens them later.
static bool is_early(const uint8_t *head)
{
	return get_be16(head + 3) == 1 && (head[0] == DTLS_APPLICATION || head[0] == DTLS_ALERT);
}

// Without encryption there is only the handshake. Anything else, and a ChangeCipherSpec that is none, would end it inside OpenSSL,
// and whoever knows the two addresses can make that up. RFC 6347 4.1.2.7 lets us ignore it: who means it is silent from then on.
static bool is_forgeable(const uint8_t *head, size_t payload_bytes)
{
	if (get_be16(head + 3) != 0 || head[0] == DTLS_HANDSHAKE)
		return false;
	return head[0] != DTLS_CHANGE_CIPHER || payload_bytes != 1 || head[DTLS_RECORD_HEADER_BYTES] != 1;
}

static void early_keep(struct dtls *dtls, const uint8_t *data, size_t bytes)
{
	if (dtls->early == NULL)
		dtls->early = calloc(EARLY_MAX, sizeof(*dtls->early));
	if (dtls->early == NULL || dtls->early_count == EARLY_MAX || bytes > EARLY_BYTES_MAX)
		return; // the peer sends it again: SCTP is reliable
	memcpy(dtls->early[dtls->early_count].data, data, bytes);
	dtls->early[dtls->early_count++].bytes = bytes;
}

// Takes a datagram apart: what is for OpenSSL goes to rest. OpenSSL would drop a bad header silently, we want to count it.
static enum drop sort_records(struct dtls *dtls, const uint8_t *data, size_t bytes, uint8_t *rest, size_t *ret_rest)
{
	enum drop drop = bytes > 0 ? DROP_NONE : DROP_DTLS_MALFORMED;
	*ret_rest = 0;
	for (size_t at = 0; at < bytes;) {
		const uint8_t *head = data + at;
		if (bytes - at < DTLS_RECORD_HEADER_BYTES || head[0] < 20 || head[0] > 63 || head[1] != 0xfe)
			return DROP_DTLS_MALFORMED;
		size_t record = DTLS_RECORD_HEADER_BYTES + (size_t)get_be16(head + 11);
		if (record > bytes - at)
			return DROP_DTLS_MALFORMED;
		if (is_early(head)) {
			early_keep(dtls, head, record);
		} else if (is_forgeable(head, record - DTLS_RECORD_HEADER_BYTES)) {
			drop = DROP_DTLS_PLAIN;
			if (head[0] == DTLS_ALERT && record == DTLS_RECORD_HEADER_BYTES + 2)
				dtls->plain_alert = SSL_alert_desc_string_long(head[DTLS_RECORD_HEADER_BYTES + 1]);
		} else {
			memcpy(rest + *ret_rest, head, record);
			*ret_rest += record;
		}
		at += record;
	}
	return drop;
}

enum drop dtls_input(struct dtls *dtls, const uint8_t *datagram, size_t bytes)
{
	uint8_t rest[DATAGRAM_BYTES_MAX];
	size_t rest_bytes;
	if (dtls->state != DTLS_HANDSHAKING)
		return DROP_DTLS_UNEXPECTED;
	if (bytes > sizeof(rest))
		return DROP_DTLS_MALFORMED;
	enum drop drop = sort_records(dtls, datagram, bytes, rest, &rest_bytes);
	if (drop == DROP_DTLS_MALFORMED || rest_bytes == 0)
		return drop;
	dtls->datagram = rest;
	dtls->datagram_bytes = rest_bytes;
	handshake_step(dtls);
	dtls->datagram = NULL;
	return drop;
}

uint64_t dtls_deadline_ns(const struct dtls *dtls)
{
	struct timeval left;
	if (dtls->state != DTLS_HANDSHAKING || DTLSv1_get_timeout(dtls->ssl, &left) != 1)
		return 0;
	return clock_mono_ns() + (uint64_t)left.tv_sec * 1000000000u + (uint64_t)left.tv_usec * 1000u;
}

void dtls_timeout(struct dtls *dtls)
{
	ERR_clear_error();
	if (dtls->state == DTLS_HANDSHAKING && DTLSv1_handle_timeout(dtls->ssl) < 0)
		fail(dtls, "the peer stopped answering the handshake");
	ERR_clear_error();
}

enum dtls_state dtls_state(const struct dtls *dtls)
{
	return dtls->state;
}

const char *dtls_failure(const struct dtls *dtls)
{
	return dtls->failure;
}

const char *dtls_plain_alert(const struct dtls *dtls)
{
	return dtls->plain_alert;
}

int dtls_export_srtp(struct dtls *dtls, struct srtp_keys *ret_keys)
{
	const SRTP_PROTECTION_PROFILE *profile = SSL_get_selected_srtp_profile(dtls->ssl);
	uint8_t material[2 * (32 + 14)];
	memset(ret_keys, 0, sizeof(*ret_keys));
	if (dtls->state != DTLS_ESTABLISHED || profile == NULL)
		return -ENOENT;
	ret_keys->profile = (enum srtp_profile)profile->id;
	size_t key = srtp_profile_key_bytes(ret_keys->profile), salt = srtp_profile_salt_bytes(ret_keys->profile);
	if (key == 0 || SSL_export_keying_material(dtls->ssl, material, 2 * (key + salt), EXPORTER_LABEL,
				strlen(EXPORTER_LABEL), NULL, 0, 0) != 1)
		return -EIO;
	// RFC 5764 4.2: client key, server key, client salt, server salt.
	const uint8_t *client_key = material, *server_key = material + key;
	const uint8_t *client_salt = material + 2 * key, *server_salt = client_salt + salt;
	bool client = dtls->role == DTLS_CLIENT;
	memcpy(ret_keys->local_key, client ? client_key : server_key, key);
	memcpy(ret_keys->remote_key, client ? server_key : client_key, key);
	memcpy(ret_keys->local_salt, client ? client_salt : server_salt, salt);
	memcpy(ret_keys->remote_salt, client ? server_salt : client_salt, salt);
	OPENSSL_cleanse(material, sizeof(material));
	return 0;
}

struct dtls_record *dtls_take_record(struct dtls *dtls, struct err *err)
{
	if (dtls->state != DTLS_ESTABLISHED) {
		err_set(err, ENOTCONN, "the DTLS handshake is not over");
		return NULL;
	}
	return dtls_record_create(dtls->ssl, dtls->role == DTLS_CLIENT, &dtls->trace, err);
}

const uint8_t *dtls_early(const struct dtls *dtls, unsigned n, size_t *ret_bytes)
{
	if (n >= dtls->early_count)
		return NULL;
	*ret_bytes = dtls->early[n].bytes;
	return dtls->early[n].data;
}
