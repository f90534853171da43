// soak.test.mjs - what bench/soak runs: users who speak, are joined again, left, and lose their phones, for SOAK_MINUTES.
import { test, after } from 'node:test';
import { assert, drops, fds, newUser, nothingLeft, rss, sleep, status, until } from '../tests/e2e/lib/world.mjs';
import { phones } from '../tests/e2e/lib/phones.mjs';
import { CELL, frameNumber } from '../tests/peers/node/lib/signal.mjs';

const MINUTES = Number(process.env.SOAK_MINUTES ?? 30), USERS = Number(process.env.SOAK_USERS ?? 20);
const SAMPLE_MS = 10000;
// What an allocator may still spread out in the second half. A sanitizer keeps what was freed in quarantine, up to 256 MiB.
const GROWTH_MIB = process.env.SOAK_BUILD === 'asan' ? 280 : 12;

const crowd = phones(Math.ceil(USERS / 7));
after(async () => {
  crowd.close();
  await nothingLeft();
});

// What relayd itself may lose: somebody was behind.
const OWN_LOSSES = ['KERNEL_RING_FULL', 'RX_NO_MBUF', 'TX_RING_FULL', 'ALLOC_FAILED', 'ASSOC_FULL', 'INJECT_FULL', 'HANDOVER_FULL', 'INBOX_FULL', 'PCM_LAPPED'];
const totals = { joins: 0, resumes: 0, leaves: 0, phones: 0, frames: 0, strange: 0, missing: 0, doubled: 0, disorder: 0, failed: [] };
let over = false;

// One user: a phone that speaks, a cloud that listens, and what happens to both.
class Visitor {
  constructor(index) {
    this.way = index % 2 ? 'track' : 'data';
    this.user = newUser(`soak-${this.way}`);
    this.said = 0; // by this user's earlier phones: numbers go on
    this.heard = new Set();
    this.firsts = []; // the number that each phone began with
  }

  async bring() {
    this.phone = await crowd.phone(this.user.id);
    this.phone.dataFrame = this.said;
    this.firsts.push(this.said);
    this.speaking = {};
    if (this.way === 'track') await this.phone.publish();
    this.speech = this.way === 'track' ? this.phone.speakTrack(null, this.speaking) : this.phone.speakData(null, this.speaking);
    totals.phones++;
  }

  async dismiss() {
    this.speaking.stop = true;
    await this.speech;
    this.said = this.phone.dataFrame;
    await this.phone.leave();
  }

  // In one stream numbers rise; of two streams the older may still be arriving, but no number comes twice.
  hear(stream, chunk) {
    const pcm = new Int16Array(chunk.pcm_data.buffer.slice(chunk.pcm_data.byteOffset, chunk.pcm_data.byteOffset + chunk.pcm_data.length));
    for (let at = 0; at + CELL <= pcm.length; at += CELL) {
      totals.frames++;
      if (this.way === 'track') continue;
      const number = frameNumber(pcm.subarray(at, at + CELL));
      if (number < 0) totals.strange++;
      else if (this.heard.has(number)) totals.doubled++;
      else if (number < stream.number) totals.disorder++;
      else if (number > stream.number + 1) this.miss(stream.number + 1, number);
      this.heard.add(number);
      stream.number = number;
    }
  }

  // What a phone says while it hangs up is not heard by anybody; other gaps are losses, of the lossy channel at least.
  miss(from, to) {
    if (!this.firsts.some((first) => first >= from && first <= to)) totals.missing += to - from;
  }

  async join() {
    const answer = await this.user.join();
    if (!answer.success) totals.failed.push(answer.error);
    const stream = (this.stream = this.user.stream());
    stream.onChunk = (chunk) => {
      this.hear(stream, chunk);
      stream.chunks.length = 0;
    };
    totals.joins++;
  }

  async live() {
    await this.bring();
    await this.join();
    while (!over) {
      await sleep(2000 + Math.random() * 6000);
      const dice = Math.random();
      if (over) break;
      if (dice < 0.5) {
        await this.join();
        totals.resumes++;
      } else if (dice < 0.75) {
        await this.user.leave();
        totals.leaves++;
        await sleep(Math.random() * 2000);
        await this.join();
      } else if (dice < 0.9) {
        await this.dismiss();
        await sleep(Math.random() * 1000);
        await this.bring();
      }
    }
    await this.user.leave();
    await this.dismiss();
    this.user.close();
  }
}

test(`${USERS} users come and go for ${MINUTES} minutes, and nothing grows`, async () => {
  const ends = Date.now() + MINUTES * 60000, samples = [];
  const visitors = Array.from({ length: USERS }, (_, i) => new Visitor(i));
  const lives = [];
  for (const visitor of visitors) {
    lives.push(visitor.live());
    await sleep(100);
  }
  const began = Date.now();
  console.log('soak: minute  MiB  fds  mbufs  sessions  joins  leaves  phones  frames  lost in swaps');
  while (Date.now() < ends) {
    await sleep(Math.min(SAMPLE_MS, ends - Date.now()));
    const now = await status();
    samples.push({ rss: rss() / 1024, fds: fds(), mbufs: now.mbufs.total - now.mbufs.free });
    const last = samples.at(-1), minute = ((Date.now() - began) / 60000).toFixed(1);
    if (samples.length % 3 === 0 || Date.now() >= ends)
      console.log('soak: ' + [minute.padStart(6), last.rss.toFixed(0).padStart(4), String(last.fds).padStart(4), String(last.mbufs).padStart(6), String(now.totals.active_sessions).padStart(9),
        String(totals.joins).padStart(6), String(totals.leaves).padStart(7), String(totals.phones).padStart(7), String(totals.frames).padStart(7), String(now.swaps.frames_lost).padStart(14)].join(' '));
  }
  over = true;
  await Promise.all(lives);
  const swaps = (await status()).swaps, dropped = await drops(), half = samples.slice(samples.length >> 1), third = Math.ceil(half.length / 3);
  const mean = (list, key) => list.reduce((sum, s) => sum + s[key], 0) / list.length;
  const growth = Object.fromEntries(['rss', 'fds', 'mbufs'].map((key) => [key, mean(half.slice(-third), key) - mean(half.slice(0, third), key)]));
  console.log(`soak: second half: memory ${growth.rss.toFixed(1)} MiB, descriptors ${growth.fds.toFixed(1)}, packet buffers ${growth.mbufs.toFixed(1)} more at its end than at its begin`);
  console.log(`soak: ${totals.frames} frames, ${totals.missing} missing in a stream, ${totals.doubled} doubled, ${totals.disorder} out of order; ${swaps.count} swaps (${swaps.resumes} resumes), ${swaps.frames_lost} never came around them, ${swaps.frames_doubled} doubled; ${totals.failed.length} joins failed`);
  assert.deepEqual(totals.failed, []);
  assert.deepEqual([totals.strange, totals.doubled, totals.disorder, swaps.frames_doubled], [0, 0, 0, 0]);
  assert.deepEqual(OWN_LOSSES.filter((name) => dropped[name] > 0), []);
  // Twenty SDK phones and a server share this machine's cores, and when these stall a few frames around a swap are missing. Whether
  // they came to relayd's port is not known from here (relayd's own losses are asserted above); more than a stall's worth is a fault.
  assert.ok(swaps.frames_lost <= swaps.count / 100, `${swaps.frames_lost} frames lost in ${swaps.count} swaps`);
  assert.ok(growth.rss < GROWTH_MIB, `memory grows: ${samples.map((s) => s.rss.toFixed(0))}`);
  // Sockets of calls that were just replaced are still on their way out.
  assert.ok(growth.fds < USERS / 2, `descriptors grow: ${samples.map((s) => s.fds)}`);
  assert.ok(growth.mbufs < 64, `packet buffers grow: ${samples.map((s) => s.mbufs)}`);
  const settled = samples[0].fds;
  await until('descriptors to settle', () => fds() <= settled, 30000);
});
