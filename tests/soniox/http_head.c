// SPDX-License-Identifier: ISC
//
// http_head.c - the head of an HTTP request (RFC 9112) and the opening handshake of a WebSocket (RFC 6455, section 4.2).
//
// Runs on: any.
#include "tests/soniox/http_head.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <strings.h>

struct span {
	const char *at;
	size_t bytes;
};

static bool copy(struct span from, char *to, size_t size)
{
	if (from.bytes >= size || memchr(from.at, '\0', from.bytes) != NULL)
		return false;
	memcpy(to, from.at, from.bytes);
	to[from.bytes] = '\0';
	return true;
}

static bool is(struct span span, const char *text)
{
	return span.bytes == strlen(text) && strncasecmp(span.at, text, span.bytes) == 0;
}

// Cuts off what is before `byte`; all of it when there is none.
static struct span cut(struct span *from, char byte)
{
	const char *end = memchr(from->at, byte, from->bytes);
	struct span part = {from->at, end == NULL ? from->bytes : (size_t)(end - from->at)};
	size_t used = MIN_OF(part.bytes + 1, from->bytes);
	from->at += used;
	from->bytes -= used;
	return part;
}

static struct span trim(struct span span)
{
	while (span.bytes > 0 && (span.at[0] == ' ' || span.at[0] == '\t')) {
		span.at++;
		span.bytes--;
	}
	while (span.bytes > 0 && strchr(" \t\r", span.at[span.bytes - 1]) != NULL && span.at[span.bytes - 1] != '\0')
		span.bytes--;
	return span;
}

static bool has_word(struct span list, const char *word)
{
	while (list.bytes > 0)
		if (is(trim(cut(&list, ',')), word))
			return true;
	return false;
}

struct upgrade {
	bool upgrade, connection, version;
};

// A second header of the same name continues the list.
static bool append(struct span value, char *to, size_t size)
{
	size_t used = strlen(to);
	if (used == 0)
		return copy(value, to, size);
	if (used + 1 >= size)
		return false;
	to[used] = ',';
	return copy(value, to + used + 1, size - used - 1);
}

static bool take_header(struct span name, struct span value, struct http_head *ret, struct upgrade *upgrade)
{
	if (is(name, "Authorization"))
		return ret->authorization[0] == '\0' && copy(value, ret->authorization, sizeof(ret->authorization));
	if (is(name, "Sec-WebSocket-Protocol"))
		return append(value, ret->protocols, sizeof(ret->protocols));
	if (is(name, "Sec-WebSocket-Key"))
		return ret->key[0] == '\0' && copy(value, ret->key, sizeof(ret->key));
	if (is(name, "Upgrade"))
		upgrade->upgrade = has_word(value, "websocket");
	else if (is(name, "Connection"))
		upgrade->connection = upgrade->connection || has_word(value, "upgrade");
	else if (is(name, "Sec-WebSocket-Version"))
		upgrade->version = is(value, "13");
	else if (is(name, "Content-Length")) {
		char number[12], *end;
		if (!copy(value, number, sizeof(number)) || number[0] < '0' || number[0] > '9')
			return false;
		ret->content_bytes = strtoul(number, &end, 10);
		return *end == '\0';
	}
	return true;
}

int http_head_parse(const char *text, size_t bytes, struct http_head *ret)
{
	const char *end = memmem(text, bytes, "\r\n\r\n", 4);
	if (end == NULL)
		return 0;
	memset(ret, 0, sizeof(*ret));
	ret->head_bytes = (size_t)(end - text) + 4;
	struct span rest = {text, (size_t)(end - text)};
	struct span line = cut(&rest, '\n');
	struct span method = cut(&line, ' '), target = cut(&line, ' '), version = trim(line);
	struct span path = cut(&target, '?');
	struct upgrade upgrade = {0};
	if (!is(version, "HTTP/1.1") || path.bytes == 0 || path.at[0] != '/' ||
		!copy(method, ret->method, sizeof(ret->method)) || !copy(path, ret->path, sizeof(ret->path)) ||
		!copy(target, ret->query, sizeof(ret->query)))
		return -EBADMSG;
	while (rest.bytes > 0) {
		line = cut(&rest, '\n');
		if (memchr(line.at, ':', line.bytes) == NULL)
			return -EBADMSG;
		struct span name = cut(&line, ':');
		if (name.bytes == 0 || !take_header(name, trim(line), ret, &upgrade))
			return -EBADMSG;
	}
	uint8_t nonce[64];
	ret->upgrade = strcmp(ret->method, "GET") == 0 && upgrade.upgrade && upgrade.connection && upgrade.version &&
		strlen(ret->key) == 24 && EVP_DecodeBlock(nonce, (const uint8_t *)ret->key, 24) == 18;
	return 1;
}

void http_accept(const char *key, char ret_accept[static 64])
{
	char joined[128];
	uint8_t digest[EVP_MAX_MD_SIZE];
	snprintf(joined, sizeof(joined), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
	EVP_Digest(joined, strlen(joined), digest, NULL, EVP_sha1(), NULL);
	EVP_EncodeBlock((uint8_t *)ret_accept, digest, 20);
}
