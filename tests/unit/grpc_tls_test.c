// SPDX-License-Identifier: ISC
//
// grpc_tls_test.c - the TLS port: who gets in, and that its connections are as bounded as those of any other socket.
//
// Runs on: any.

#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>

#include "tests/support/grpc_world.h"

// ---- certificates

struct certificate {
	EVP_PKEY *key;
	X509 *x509;
	char *key_pem, *pem;
};

static char *pem_of(BIO *bio)
{
	char *data;
	long bytes = BIO_get_mem_data(bio, &data);
	char *text = strndup(data, (size_t)bytes);
	BIO_free(bio);
	return text;
}

// Signed by issuer, or by itself and then an authority.
static struct certificate certify(const char *name, const struct certificate *issuer)
{
	struct certificate made = {.key = EVP_EC_gen("P-256"), .x509 = X509_new()};
	X509 *x509 = made.x509, *by = issuer != NULL ? issuer->x509 : x509;
	static long serial;
	X509_set_version(x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(x509), -60);
	X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
	X509_set_pubkey(x509, made.key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x509, X509_get_subject_name(by));
	X509V3_CTX context;
	X509V3_set_ctx(&context, by, x509, NULL, NULL, 0);
	X509_EXTENSION *extension = issuer == NULL
		? X509V3_EXT_conf_nid(NULL, &context, NID_basic_constraints, "critical,CA:TRUE")
		: X509V3_EXT_conf_nid(NULL, &context, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
	X509_add_ext(x509, extension, -1);
	X509_EXTENSION_free(extension);
	assert_true(X509_sign(x509, issuer != NULL ? issuer->key : made.key, EVP_sha256()) > 0);
	BIO *key = BIO_new(BIO_s_mem()), *pem = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(key, made.key, NULL, NULL, 0, NULL, NULL);
	PEM_write_bio_X509(pem, x509);
	made.key_pem = pem_of(key);
	made.pem = pem_of(pem);
	return made;
}

static void certificate_free(struct certificate *certificate)
{
	EVP_PKEY_free(certificate->key);
	X509_free(certificate->x509);
	free(certificate->key_pem);
	free(certificate->pem);
}

static char *file_write(const char *name, const char *text)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	return strdup(path);
}

// ---- who gets in

static int status_over_tls(const char *authority, const struct certificate *own)
{
	char tcp[64];
	snprintf(tcp, sizeof(tcp), "127.0.0.1:%u", grpc_server_port());
	grpc_ssl_pem_key_cert_pair pair = {0};
	if (own != NULL)
		pair = (grpc_ssl_pem_key_cert_pair){.private_key = own->key_pem, .cert_chain = own->pem};
	struct client other;
	client_open_with(&other, tcp, grpc_ssl_credentials_create(authority, own != NULL ? &pair : NULL, NULL, NULL));
	Mentra__Livekit__Bridge__BridgeStatusRequest request = MENTRA__LIVEKIT__BRIDGE__BRIDGE_STATUS_REQUEST__INIT;
	int status = client_unary(&other, BRIDGE "GetStatus", &request.base, NULL, NULL, NULL, 0);
	client_close(&other);
	return status;
}

static void tls_and_mutual_tls(void **state)
{
	struct certificate authority = certify("test authority", NULL), rogue = certify("rogue authority", NULL);
	struct certificate ours = certify("relay", &authority), friend = certify("cloud", &authority),
			   foe = certify("cloud", &rogue);
	grpc_server_stop();
	config.grpc.tls_cert = file_write("cert.pem", ours.pem);
	config.grpc.tls_key = file_write("key.pem", ours.key_pem);
	config.grpc.tcp = "127.0.0.1:0";
	launch();
	assert_int_equal(status_over_tls(authority.pem, NULL), GRPC_STATUS_OK);
	assert_int_equal(status_over_tls(rogue.pem, NULL), GRPC_STATUS_UNAVAILABLE);
	grpc_server_stop();
	config.grpc.tls_client_ca = file_write("ca.pem", authority.pem);
	launch();
	assert_int_equal(status_over_tls(authority.pem, &friend), GRPC_STATUS_OK);
	assert_int_equal(status_over_tls(authority.pem, NULL), GRPC_STATUS_UNAVAILABLE);
	assert_int_equal(status_over_tls(authority.pem, &foe), GRPC_STATUS_UNAVAILABLE);
	grpc_server_stop();
	char *key = config.grpc.tls_key;
	config.grpc.tls_key = "/nonexistent/key.pem";
	expect_refusal("/nonexistent/key.pem: No such file");
	config.grpc.tls_key = config.grpc.tls_cert;
	expect_refusal("bad certificate or key");
	free(config.grpc.tls_cert);
	free(config.grpc.tls_client_ca);
	free(key);
	config.grpc.tls_cert = config.grpc.tls_key = config.grpc.tls_client_ca = config.grpc.tcp = empty;
	struct certificate *all[] = {&authority, &rogue, &ours, &friend, &foe};
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		certificate_free(all[i]);
	launch();
}

// ---- abuse

static struct certificate authority, ours;

// The port is open with a certificate of the authority's.
static void launch_tls(char *address)
{
	grpc_server_stop();
	authority = certify("test authority", NULL);
	ours = certify("relay", &authority);
	config.grpc.tls_cert = file_write("cert.pem", ours.pem);
	config.grpc.tls_key = file_write("key.pem", ours.key_pem);
	config.grpc.tcp = address;
	launch();
}

static void launch_plain(void)
{
	grpc_server_stop();
	free(config.grpc.tls_cert);
	free(config.grpc.tls_key);
	config.grpc.tls_cert = config.grpc.tls_key = config.grpc.tcp = empty;
	certificate_free(&authority);
	certificate_free(&ours);
	launch();
}

static int tcp_connect(int family)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	in.sin_port = htons((uint16_t)grpc_server_port());
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = in.sin_port, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct sockaddr *address = family == AF_INET ? (const void *)&in : (const void *)&in6;
	if (fd >= 0 && connect(fd, address, family == AF_INET ? sizeof(in) : sizeof(in6)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool readable(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	return poll(&poll_fd, 1, 0) > 0;
}

// Opens and cancels calls until the connection is cut; false if it never is.
static bool reset_rapidly(int fd)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_alpn_protos(context, (const uint8_t *)"\x02h2", 3);
	SSL *ssl = SSL_new(context);
	SSL_set_fd(ssl, fd);
	assert_int_equal(SSL_connect(ssl), 1);
	assert_true(SSL_write(ssl, RAW_PREFACE, sizeof(RAW_PREFACE) - 1) > 0);
	bool cut = false;
	for (uint32_t id = 1; id < 200000 && !cut; id += 2) {
		uint8_t frames[512], sink[4096];
		size_t bytes = reset_frames(frames, id);
		cut = SSL_write(ssl, frames, (int)bytes) <= 0;
		while (!cut && readable(fd)) {
			int got = SSL_read(ssl, sink, sizeof(sink)); // what it sends are whole records
			cut = got <= 0 && SSL_get_error(ssl, got) != SSL_ERROR_WANT_READ;
		}
	}
	SSL_free(ssl);
	SSL_CTX_free(context);
	close(fd);
	return cut;
}

static void rapid_reset_over_tls_is_cut(void **state)
{
	static const struct {
		int family;
		const char *address;
	} ways[] = {{AF_INET, "127.0.0.1:0"}, {AF_INET6, "[::1]:0"}};
	const struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int probe = socket(AF_INET6, SOCK_STREAM, 0);
	bool has_six = probe >= 0 && bind(probe, (const struct sockaddr *)&six, sizeof(six)) == 0;
	close(probe);
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < (has_six ? 2u : 1u); i++) {
		struct grpc_listen_stats after;
		launch_tls((char *)(uintptr_t)ways[i].address);
		int fd = tcp_connect(ways[i].family);
		assert_true(fd >= 0);
		assert_true(reset_rapidly(fd));
		grpc_listen_stats(&after);
		assert_int_equal(after.cut, 1);
		launch_plain();
	}
}

// Who speaks no TLS is hung up on, and its place is free.
static void garbage_ends_the_connection(void **state)
{
	static const uint8_t garbage[64] = {'G', 'E', 'T', ' ', '/'};
	struct pollfd poll_fd = {.events = POLLIN};
	char byte;
	launch_tls("127.0.0.1:0");
	poll_fd.fd = tcp_connect(AF_INET);
	assert_true(poll_fd.fd >= 0);
	assert_int_equal(send(poll_fd.fd, garbage, sizeof(garbage), MSG_NOSIGNAL), sizeof(garbage));
	ssize_t got;
	do { // an alert may come first
		assert_int_equal(poll(&poll_fd, 1, 8000), 1); // sooner than a handshake runs out of time
		got = recv(poll_fd.fd, &byte, 1, 0);
	} while (got > 0);
	settle(0);
	close(poll_fd.fd);
	launch_plain();
}

// Connections that never say a word: no more than there is room for, and who has something to say gets in.
static void connections_without_a_handshake_are_bounded(void **state)
{
	int fds[80];
	struct grpc_listen_stats stats;
	uint64_t limit = clock_mono_ns() + 60000000000u;
	launch_tls("127.0.0.1:0");
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		assert_true((fds[i] = tcp_connect(AF_INET)) >= 0);
	do {
		grpc_listen_stats(&stats);
		assert_true(stats.connections <= 64);
		usleep(1000);
	} while (stats.accepted + stats.refused < ARRAY_SIZE(fds) && clock_mono_ns() < limit);
	assert_int_equal(stats.accepted, 64);
	assert_int_equal(stats.refused, ARRAY_SIZE(fds) - 64);
	limit = clock_mono_ns() + 8000000000u; // less than gRPC itself grants for a handshake
	while (status_over_tls(authority.pem, NULL) != GRPC_STATUS_OK)
		assert_true(clock_mono_ns() < limit);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	settle(1);
	launch_plain();
}

// gRPC's own listener would never accept again.
static void accepting_tls_survives_emfile(void **state)
{
	struct rlimit old, tight;
	struct grpc_listen_stats stats;
	launch_tls("127.0.0.1:0");
	assert_int_equal(status_over_tls(authority.pem, NULL), GRPC_STATUS_OK);
	settle(1);
	getrlimit(RLIMIT_NOFILE, &old);
	int probe = open("/dev/null", O_RDONLY), fds[16];
	tight = old;
	tight.rlim_cur = (rlim_t)probe + 6;
	close(probe);
	setrlimit(RLIMIT_NOFILE, &tight);
	unsigned opened = 0;
	while (opened < ARRAY_SIZE(fds) && (fds[opened] = tcp_connect(AF_INET)) >= 0)
		opened++;
	for (unsigned i = 0; i < 20000; i++) {
		grpc_listen_stats(&stats);
		if (stats.refused > 0)
			break;
		usleep(1000);
	}
	setrlimit(RLIMIT_NOFILE, &old);
	for (unsigned i = 0; i < opened; i++)
		close(fds[i]);
	assert_true(stats.refused > 0);
	settle(1);
	assert_int_equal(status_over_tls(authority.pem, NULL), GRPC_STATUS_OK);
	launch_plain();
}

// The supervisor's socket as descriptor 3; what was there comes back. Returns what to give back.
static int inherit(char *ret_address, size_t size)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof(in);
	char pid[16];
	int kept = fcntl(3, F_DUPFD_CLOEXEC, 10), fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &bytes), 0);
	snprintf(ret_address, size, "127.0.0.1:%u", ntohs(in.sin_port));
	assert_int_equal(dup2(fd, 3), 3);
	close(fd);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	return kept;
}

// Who connects after the drain has begun waits in the supervisor's socket for the next process.
static void tls_socket_is_inherited_and_left(void **state)
{
	char address[32];
	struct grpc_listen_stats before, after;
	int kept = inherit(address, sizeof(address)), supervisors = fcntl(3, F_DUPFD_CLOEXEC, 10), late[4];
	config.grpc.socket = empty;
	launch_tls(address);
	assert_int_equal(status_over_tls(authority.pem, NULL), GRPC_STATUS_OK);
	settle(0);
	grpc_listen_stats(&before);
	grpc_server_set_draining();
	for (size_t i = 0; i < ARRAY_SIZE(late); i++)
		assert_true((late[i] = tcp_connect(AF_INET)) >= 0);
	grpc_server_stop();
	grpc_listen_stats(&after);
	assert_int_equal(after.accepted + after.refused, before.accepted + before.refused);
	assert_int_equal(dup2(supervisors, 3), 3);
	launch(); // the next process
	for (unsigned i = 0; i < 20000 && after.accepted < ARRAY_SIZE(late); i++) {
		grpc_listen_stats(&after);
		usleep(1000);
	}
	assert_int_equal(after.accepted, ARRAY_SIZE(late));
	for (size_t i = 0; i < ARRAY_SIZE(late); i++)
		close(late[i]);
	unsetenv("LISTEN_PID");
	config.grpc.socket = socket_path;
	launch_plain();
	assert_int_equal(dup2(kept, 3), 3);
	close(kept);
	close(supervisors);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]); // one test by name
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tls_and_mutual_tls),
		cmocka_unit_test(garbage_ends_the_connection),
		cmocka_unit_test(rapid_reset_over_tls_is_cut),
		cmocka_unit_test(connections_without_a_handshake_are_bounded),
		cmocka_unit_test(accepting_tls_survives_emfile),
		cmocka_unit_test(tls_socket_is_inherited_and_left),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
