// SPDX-License-Identifier: ISC
//
// grpc_tls.c - TLS on connections that our own accept loop took, so that what holds for plaintext holds for them.
//
// gRPC has a way in for such connections, which its C++ library offers as ExternalConnectionAcceptor: a port named
// "external:...", and an argument of the same name in which the server leaves an object that takes descriptors. The object is one
// of C++; its one method is called here by its place in the table of methods: a destructor takes the first two. The library's
// soname changes with every version of gRPC's core, so the place is the one that grpc_tls_test was run with.
//
// Runs on: init, io (the accept thread).

#include "controlplane/grpc_tls.h"

#include <grpc/grpc_security.h>
#include <stdlib.h>

#define PORT_NAME "external:tls"
#define METHOD_HANDLE 2

struct fd_handler {
	void (*const *methods)(void);
};
typedef void handle_fn(struct fd_handler *handler, int listen_fd, int fd, grpc_byte_buffer *read_already);

static void *pointer_copy(void *pointer)
{
	return pointer;
}

static void pointer_destroy(void *pointer)
{
	(void)pointer;
}

static int pointer_compare(void *a, void *b)
{
	return a < b ? -1 : a > b;
}

grpc_arg grpc_tls_arg(struct grpc_tls *tls)
{
	static const grpc_arg_pointer_vtable vtable = {.copy = pointer_copy, .destroy = pointer_destroy, .cmp = pointer_compare};
	tls->handler = NULL;
	return (grpc_arg){.type = GRPC_ARG_POINTER, .key = (char *)(uintptr_t)PORT_NAME,
		.value.pointer = {.p = &tls->handler, .vtable = &vtable}};
}

static char *file_read(const char *path, struct err *err)
{
	FILE *file = fopen(path, "re");
	char *text = file != NULL ? calloc(1, 1 << 20) : NULL;
	if (text == NULL || fread(text, 1, (1 << 20) - 1, file) == 0) {
		err_set(err, EIO, "%s: %s", path, errno != 0 ? strerror(errno) : "empty");
		free(text);
		text = NULL;
	}
	if (file != NULL)
		fclose(file);
	return text;
}

static bool given(const char *text)
{
	return text != NULL && text[0] != '\0';
}

int grpc_tls_open(struct grpc_tls *tls, grpc_server *server, const struct config *config, struct err *err)
{
	bool mutual = given(config->grpc.tls_client_ca);
	errno = 0;
	char *cert = file_read(config->grpc.tls_cert, err);
	char *key = cert != NULL ? file_read(config->grpc.tls_key, err) : NULL;
	char *ca = key != NULL && mutual ? file_read(config->grpc.tls_client_ca, err) : NULL;
	int rc = cert == NULL || key == NULL || (mutual && ca == NULL) ? -EINVAL : 0;
	if (rc == 0) {
		grpc_ssl_pem_key_cert_pair pair = {.private_key = key, .cert_chain = cert};
		grpc_server_credentials *credentials = grpc_ssl_server_credentials_create_ex(ca, &pair, 1,
			mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
			       : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
			NULL);
		if (credentials != NULL) {
			grpc_server_add_http2_port(server, PORT_NAME, credentials); // says 0: it has no port
			grpc_server_credentials_release(credentials);
		}
		if (tls->handler == NULL)
			rc = err_set(err, -EINVAL, "%s, %s: bad certificate or key", config->grpc.tls_cert, config->grpc.tls_key);
	}
	free(cert);
	free(key);
	free(ca);
	return rc;
}

void grpc_tls_take(const struct grpc_tls *tls, int listen_fd, int fd)
{
	struct fd_handler *handler = tls->handler;
	((handle_fn *)handler->methods[METHOD_HANDLE])(handler, listen_fd, fd, NULL);
}
