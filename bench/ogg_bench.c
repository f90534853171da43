// SPDX-License-Identifier: ISC
//
// ogg_bench.c - users a core whose Opus is passed on as Ogg and not decoded: the worker's part, the Ogg, and the sending.
//
// Runs on: worker; what control does, the same thread does after it.

#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/path.h"
#include "controlplane/ogg_opus.h"
#include "controlplane/soniox_packets.h"

#define SESSIONS 400
#define PACKETS_A_PAGE 5 // Soniox gets a message each 100 ms
#define USERS_TARGET 8000
#define USERS_LIMIT 2000 // a regression, not noise

struct user {
	uint64_t cursor, sent; // in the ring of packets; on the time line
	struct soniox_packets packets;
	struct soniox_replay *replay;
	struct ogg_opus *ogg;
};

static struct {
	struct user users[SESSIONS];
	EVP_CIPHER_CTX *cipher;
	int ends[2];
	uint64_t packets, pages, bytes;
	struct bench_series page_cycles; // from the ring to a sealed message in the kernel
} passing;

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "ogg_bench: %s\n", what);
	exit(1);
}

static void users_open(void)
{
	static const uint8_t key[32] = {1};
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, passing.ends) == 0, "a pair of sockets");
	passing.cipher = EVP_CIPHER_CTX_new();
	must(passing.cipher != NULL && EVP_EncryptInit_ex(passing.cipher, EVP_aes_256_gcm(), NULL, key, NULL) == 1, "a cipher");
	for (unsigned i = 0; i < SESSIONS; i++) {
		struct user *user = &passing.users[i];
		*user = (struct user){.cursor = pcm_head(world.sessions[i].opus), .replay = soniox_replay_create(5000),
			.ogg = ogg_opus_create(i)};
		must(user->replay != NULL && user->ogg != NULL, "no memory");
	}
}

static void users_close(void)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		soniox_replay_free(passing.users[i].replay);
		ogg_opus_free(passing.users[i].ogg);
	}
	EVP_CIPHER_CTX_free(passing.cipher);
	close(passing.ends[0]);
	close(passing.ends[1]);
}

// As a TLS record goes out.
static void message_send(const uint8_t *page, size_t bytes)
{
	static uint8_t sealed[OGG_OPUS_PAGE_MAX + 16], nonce[12];
	int length = 0, last = 0;
	nonce[0]++;
	must(bytes > 0 && EVP_EncryptInit_ex(passing.cipher, NULL, NULL, NULL, nonce) == 1 &&
		     EVP_EncryptUpdate(passing.cipher, sealed, &length, page, (int)bytes) == 1 &&
		     EVP_EncryptFinal_ex(passing.cipher, sealed + length, &last) == 1 &&
		     EVP_CIPHER_CTX_ctrl(passing.cipher, EVP_CTRL_GCM_GET_TAG, 16, sealed + length) == 1,
		"a page is not sealed");
	must(send(passing.ends[0], sealed, (size_t)length + 16, 0) == length + 16, "a page is not sent");
	passing.bytes += bytes;
}

// What is in a user's ring becomes one page.
static void page_pass(unsigned index)
{
	struct user *user = &passing.users[index];
	const struct pcm *ring = world.sessions[index].opus;
	struct pcm_frame frame;
	struct soniox_unit unit;
	const uint8_t *page;
	uint64_t lapped = 0;
	uint64_t began = bench_now();
	while (pcm_read(ring, &user->cursor, &frame, &lapped) == 1)
		must(soniox_packets_take(&user->packets, user->replay, &frame), "no packet");
	unsigned packets = 0;
	while (soniox_replay_head(user->replay) > user->sent && soniox_replay_get(user->replay, user->sent, &unit)) {
		must(unit.bytes > 0 && ogg_opus_packet(user->ogg, unit.payload, unit.bytes, unit.samples * 3) == 0, "a packet is missing");
		user->sent += unit.samples;
		packets++;
	}
	size_t bytes = ogg_opus_page(user->ogg, false, &page);
	message_send(page, bytes);
	uint64_t cycles = bench_now() - began;
	must(lapped == 0, "a packet was overwritten");
	if (passing.pages++ >= SESSIONS) // the first one carries the stream's head
		bench_add(&passing.page_cycles, cycles * 100 / packets);
	passing.packets += packets;
	static uint8_t sink[OGG_OPUS_PAGE_MAX + 16];
	must(recv(passing.ends[1], sink, sizeof(sink), 0) > 0, "nothing came");
}

int main(int argc, char **argv)
{
	bench_begin(argc, argv, "ogg", "Opus passed on as Ogg, undecoded");
	world_start(bench_core());
	struct world_config config = {.sessions = SESSIONS, .ring_ms = 400, .profile = SRTP_AEAD_AES_256_GCM, .red = true, .passing = true};
	struct bench_series worker = {0};
	uint64_t given = 0;
	world_open(&config);
	users_open();
	for (unsigned turn = 0; turn < (bench_short() ? 12u : 120u); turn++) {
		struct bench_series burst = {0};
		given += path_bursts(PACKETS_A_PAGE, &burst);
		if (turn == 0)
			world_settle();
		for (unsigned i = 0; turn > 0 && i < burst.count; i++)
			bench_add(&worker, burst.values[i]);
		bench_free(&burst);
		for (unsigned i = 0; i < SESSIONS; i++)
			page_pass(i);
	}
	double cells = (double)stats_get(&world_worker()->stats.frames);
	double parts[] = {bench_percentile(&worker, 50) / 100, bench_percentile(&passing.page_cycles, 50) / 100};
	double sum = parts[0] + parts[1], users = bench_cycles_per_s() / 50 / sum, worker_users = bench_cycles_per_s() / 50 / parts[0];
	unsigned table = bench_table("Cycles a packet", "part|cycles|ns");
	bench_row(table, "worker: wire to ring of packets", (double[]){parts[0], bench_ns(parts[0])}, 2);
	bench_row(table, "control: ring, replay, Ogg, AES-256-GCM, send", (double[]){parts[1], bench_ns(parts[1])}, 2);
	bench_row(table, "sum", (double[]){sum, bench_ns(sum)}, 2);
	unsigned counts = bench_table("Users a core at 50 packets a second", "what|users");
	bench_row(counts, "everything on one core", &users, 1);
	bench_row(counts, "of a worker, with control on another core", &worker_users, 1);
	bench_note("%u users, RED with one copy of %u bytes, a page and a message each 100 ms, %.0f bytes of Ogg a packet.", SESSIONS,
		SPEECH_BYTES, (double)passing.bytes / (double)passing.packets);
	bench_note("The message goes into a local socket: what TCP and a network card ask for is not in it, nor WebSocket's frame.");
	bench_check("packets in a page of those received", (double)passing.packets / (double)given, false, 1);
	bench_check("cells of PCM that nobody wanted", cells, true, 0);
	bench_target("users a core, Opus passed on as Ogg", users, false, USERS_TARGET);
	bench_check("users a core, Opus passed on as Ogg, limit", users, false, USERS_LIMIT);
	bench_free(&worker);
	bench_free(&passing.page_cycles);
	users_close();
	world_close();
	int status = bench_end();
	world_stop();
	return status;
}
