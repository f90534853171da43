// SPDX-License-Identifier: ISC
//
// dtls_peer.h - plain OpenSSL as a DTLS 1.2 peer over datagrams in memory, as WebRTC stacks use it: both certificates, EMS,
// use_srtp.
//
// Runs on: any.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "dataplane/base.h"

#define DTLS_PEER_QUEUE 64

struct dtls_peer_datagram {
	uint8_t data[2048];
	size_t bytes;
};

struct dtls_peer {
	SSL_CTX *context;
	BIO_METHOD *method;
	SSL *ssl;
	struct dtls_peer_datagram sent[DTLS_PEER_QUEUE]; // what it wants on the wire; the test takes it
	unsigned sent_count;
	const uint8_t *input;
	size_t input_bytes;
	void (*wrote)(void *arg, const uint8_t *datagram, size_t bytes);
	void *arg;
};

static int peer_write(BIO *bio, const char *data, int bytes)
{
	struct dtls_peer *peer = BIO_get_data(bio);
	if (peer->sent_count < DTLS_PEER_QUEUE && (size_t)bytes <= sizeof(peer->sent[0].data)) {
		memcpy(peer->sent[peer->sent_count].data, data, (size_t)bytes);
		peer->sent[peer->sent_count++].bytes = (size_t)bytes;
	}
	if (peer->wrote != NULL)
		peer->wrote(peer->arg, (const uint8_t *)data, (size_t)bytes);
	return bytes;
}

static int peer_read(BIO *bio, char *data, int size)
{
	struct dtls_peer *peer = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	if (peer->input == NULL) {
		BIO_set_retry_read(bio);
		return -1;
	}
	int bytes = (int)MIN_OF(peer->input_bytes, (size_t)size);
	memcpy(data, peer->input, (size_t)bytes);
	peer->input = NULL;
	return bytes;
}

static long peer_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	if (command == BIO_CTRL_DGRAM_QUERY_MTU || command == BIO_CTRL_DGRAM_GET_FALLBACK_MTU)
		return 1200;
	return command == BIO_CTRL_FLUSH;
}

static int peer_trusts(int preverified, X509_STORE_CTX *store)
{
	(void)preverified;
	(void)store;
	return 1;
}

static unsigned dtls_peer_timer_us = 60000000; // a flight is repeated when the test asks, not when a clock says

static unsigned peer_timer(SSL *ssl, unsigned previous_us)
{
	(void)ssl;
	(void)previous_us;
	return dtls_peer_timer_us;
}

static inline void dtls_peer_open(struct dtls_peer *peer, bool client, const char *ciphers)
{
	memset(peer, 0, sizeof(*peer));
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_set_pubkey(certificate, key);
	X509_sign(certificate, key, EVP_sha256());
	peer->context = SSL_CTX_new(DTLS_method());
	SSL_CTX_set_min_proto_version(peer->context, DTLS1_2_VERSION);
	SSL_CTX_set_verify(peer->context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, peer_trusts);
	SSL_CTX_set_options(peer->context, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_TICKET);
	SSL_CTX_use_certificate(peer->context, certificate);
	SSL_CTX_use_PrivateKey(peer->context, key);
	SSL_CTX_set_cipher_list(peer->context, ciphers);
	peer->method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "test datagram");
	BIO_meth_set_write(peer->method, peer_write);
	BIO_meth_set_read(peer->method, peer_read);
	BIO_meth_set_ctrl(peer->method, peer_ctrl);
	BIO *bio = BIO_new(peer->method);
	BIO_set_data(bio, peer);
	BIO_set_init(bio, 1);
	peer->ssl = SSL_new(peer->context);
	SSL_set_bio(peer->ssl, bio, bio);
	SSL_set_mtu(peer->ssl, 1200);
	SSL_set_tlsext_use_srtp(peer->ssl, "SRTP_AEAD_AES_128_GCM");
	DTLS_set_timer_cb(peer->ssl, peer_timer);
	if (client)
		SSL_set_connect_state(peer->ssl);
	else
		SSL_set_accept_state(peer->ssl);
	X509_free(certificate);
	EVP_PKEY_free(key);
}

static inline void dtls_peer_close(struct dtls_peer *peer)
{
	SSL_free(peer->ssl);
	SSL_CTX_free(peer->context);
	BIO_meth_free(peer->method);
	memset(peer, 0, sizeof(*peer));
}

// One datagram in, handshake on. True once it is over.
static inline bool dtls_peer_handshake(struct dtls_peer *peer, const uint8_t *datagram, size_t bytes)
{
	peer->input = datagram;
	peer->input_bytes = bytes;
	ERR_clear_error();
	return SSL_do_handshake(peer->ssl) == 1;
}

// Plain bytes of one record, -1 when there is none (SSL_get_error tells why).
static inline int dtls_peer_read(struct dtls_peer *peer, const uint8_t *datagram, size_t bytes, uint8_t *data, size_t size)
{
	peer->input = datagram;
	peer->input_bytes = bytes;
	ERR_clear_error();
	return SSL_read(peer->ssl, data, (int)size);
}

// Moves what one has sent to the other until both are done or lose says that a datagram is lost.
static inline bool dtls_peer_connect(struct dtls_peer *client, struct dtls_peer *server,
	bool (*lose)(bool from_client, const uint8_t *datagram, size_t bytes))
{
	dtls_peer_handshake(client, NULL, 0);
	for (unsigned round = 0; round < 20; round++) {
		struct dtls_peer *from = round % 2 == 0 ? client : server, *to = round % 2 == 0 ? server : client;
		struct dtls_peer_datagram flight[DTLS_PEER_QUEUE];
		unsigned count = from->sent_count;
		memcpy(flight, from->sent, sizeof(flight));
		from->sent_count = 0;
		for (unsigned i = 0; i < count; i++)
			if (lose == NULL || !lose(from == client, flight[i].data, flight[i].bytes))
				dtls_peer_handshake(to, flight[i].data, flight[i].bytes);
		if (SSL_is_init_finished(client->ssl) && SSL_is_init_finished(server->ssl))
			return true;
	}
	return false;
}
