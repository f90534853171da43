// SPDX-License-Identifier: ISC
//
// url.c - parses and writes server addresses so that two spellings of one place compare equal.
//
// Runs on: any.
#include "controlplane/url.h"

#include <arpa/inet.h>
#include <strings.h>

static const struct {
	const char *prefix;
	bool secure;
} schemes[] = {{"ws://", false}, {"wss://", true}, {"http://", false}, {"https://", true}};

static uint16_t port_default(bool secure)
{
	return secure ? 443 : 80;
}

static bool host_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

static int read_ipv6(const char *text, size_t length, struct url *url, struct err *err)
{
	char literal[INET6_ADDRSTRLEN];
	struct in6_addr address;
	if (length == 0 || length >= sizeof(literal))
		return err_set(err, EINVAL, "URL has a bad IPv6 address");
	memcpy(literal, text, length);
	literal[length] = '\0';
	if (inet_pton(AF_INET6, literal, &address) != 1)
		return err_set(err, EINVAL, "URL has a bad IPv6 address");
	inet_ntop(AF_INET6, &address, url->host, sizeof(url->host));
	url->ipv6 = true;
	return 0;
}

static int read_name(const char *text, size_t length, struct url *url, struct err *err)
{
	if (length > 0 && text[length - 1] == '.')
		length--;
	if (length == 0)
		return err_set(err, EINVAL, "URL has no host");
	if (length >= sizeof(url->host))
		return err_set(err, EINVAL, "URL has a host name that is too long");
	for (size_t i = 0; i < length; i++) {
		char c = text[i];
		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		bool empty_label = c == '.' && (i == 0 || i + 1 == length || url->host[i - 1] == '.');
		if (!host_char(c) || empty_label)
			return err_set(err, EINVAL, "URL has a character in its host that no host name can have");
		url->host[i] = c;
	}
	url->host[length] = '\0';
	return 0;
}

static int read_port(const char *text, size_t length, struct url *url, struct err *err)
{
	if (length == 0) // "host:" is legal and means the default
		return 0;
	uint32_t port = 0;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return err_set(err, EINVAL, "URL has a port that is not a number");
		port = port * 10 + (uint32_t)(text[i] - '0');
		if (port > 65535)
			break;
	}
	if (port == 0 || port > 65535)
		return err_set(err, EINVAL, "URL has a port outside 1..65535");
	url->port = (uint16_t)port;
	return 0;
}

static int read_authority(const char *text, size_t length, struct url *url, struct err *err)
{
	if (memchr(text, '@', length) != NULL)
		return err_set(err, EINVAL, "URL must not have a user name or password");
	const char *end = text + length, *port = end;
	int rc;
	if (length > 0 && text[0] == '[') {
		const char *close = memchr(text, ']', length);
		if (close == NULL)
			return err_set(err, EINVAL, "URL has a bad IPv6 address");
		rc = read_ipv6(text + 1, (size_t)(close - text) - 1, url, err);
		port = close + 1;
		if (rc == 0 && port < end && *port != ':')
			rc = err_set(err, EINVAL, "URL has something odd after its host");
	} else {
		const char *colon = memchr(text, ':', length);
		if (colon != NULL)
			port = colon;
		rc = read_name(text, (size_t)(port - text), url, err);
	}
	if (rc < 0 || port == end)
		return rc;
	return read_port(port + 1, (size_t)(end - port) - 1, url, err);
}

static int read_path(const char *text, struct url *url, struct err *err)
{
	size_t used = 0;
	for (; *text != '\0'; text++) {
		if (*text == '?' || *text == '#')
			return err_set(err, EINVAL, "URL must not have a query or a fragment");
		if (*text <= ' ' || *text > '~' || strchr("\"<>\\^`{|}", *text) != NULL)
			return err_set(err, EINVAL, "URL has a character in its path that must be percent-encoded");
		if (*text == '/' && used > 0 && url->path[used - 1] == '/')
			continue;
		if (used + 1 >= sizeof(url->path))
			return err_set(err, EINVAL, "URL has a path that is too long");
		url->path[used++] = *text;
	}
	if (used > 0 && url->path[used - 1] == '/')
		used--;
	url->path[used] = '\0';
	return 0;
}

int url_parse(const char *text, struct url *ret_url, struct err *err)
{
	struct url url = {0};
	const char *rest = NULL;
	for (size_t i = 0; text != NULL && i < ARRAY_SIZE(schemes); i++) {
		size_t length = strlen(schemes[i].prefix);
		if (strncasecmp(text, schemes[i].prefix, length) == 0) {
			url.secure = schemes[i].secure;
			rest = text + length;
		}
	}
	if (rest == NULL)
		return err_set(err, EINVAL, "URL must begin with ws://, wss://, http:// or https://");
	url.port = port_default(url.secure);
	size_t authority = strcspn(rest, "/?#");
	int rc = read_authority(rest, authority, &url, err);
	if (rc == 0)
		rc = read_path(rest + authority, &url, err);
	if (rc == 0)
		*ret_url = url;
	return rc;
}

int url_host_header(const struct url *url, char *ret_text, size_t size)
{
	char port[8] = "";
	if (url->port != port_default(url->secure))
		snprintf(port, sizeof(port), ":%u", url->port);
	int n = snprintf(ret_text, size, "%s%s%s%s", url->ipv6 ? "[" : "", url->host, url->ipv6 ? "]" : "", port);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int url_format(const struct url *url, bool http, const char *suffix, char *ret_text, size_t size)
{
	char host[URL_HOST_MAX + 16];
	int rc = url_host_header(url, host, sizeof(host));
	if (rc < 0)
		return rc;
	int n = snprintf(ret_text, size, "%s%s://%s%s%s", http ? "http" : "ws", url->secure ? "s" : "", host, url->path,
		suffix);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}
