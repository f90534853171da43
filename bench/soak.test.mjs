// soak.test.mjs - what bench/soak runs: users who speak, are joined again, left, and lose their phones, for SOAK_MINUTES.
import { test, after } from 'node:test';
import { ask, assert, drops, fds, newUser, nothingLeft, rss, session, sleep, status, until } from '../tests/e2e/lib/world.mjs';
import { phones } from '../tests/e2e/lib/phones.mjs';
import { CELL, frameNumber } from '../tests/peers/node/lib/signal.mjs';

const MINUTES = Number(process.env.SOAK_MINUTES ?? 30), USERS = Number(process.env.SOAK_USERS ?? 20);
const SAMPLE_MS = 10000, WINDOW = 16; // frames that the data way's order reaches back
// What an allocator may still spread out in the second half. A sanitizer keeps what was freed in quarantine, up to 256 MiB.
const GROWTH_MIB = process.env.SOAK_BUILD === 'asan' ? 280 : 12;

const crowd = phones(Math.ceil(USERS / 7));
after(async () => {
  crowd.close();
  await nothingLeft();
});

// What relayd itself may lose: somebody was behind.
const OWN_LOSSES = ['KERNEL_RING_FULL', 'RX_NO_MBUF', 'TX_RING_FULL', 'ALLOC_FAILED', 'ASSOC_FULL', 'INJECT_FULL', 'HANDOVER_FULL', 'INBOX_FULL', 'PCM_LAPPED'];

// When each came, and how slow the way to the listeners was: a machine that is stalled shows in both.
const ownLosses = {};
async function watchOwnLosses(minute, latency) {
  const dropped = await drops();
  for (const name of OWN_LOSSES.filter((each) => dropped[each] > (ownLosses[each] ?? 0))) {
    console.log(`soak: ${name} ${dropped[name] - (ownLosses[name] ?? 0)} more in minute ${minute}, up to ${(latency.max_us / 1000).toFixed(0)} ms from packet to gRPC since the begin`);
    ownLosses[name] = dropped[name];
  }
}

const totals = { joins: 0, resumes: 0, leaves: 0, phones: 0, frames: 0, strange: 0, doubled: 0, disorder: 0, failed: [] };
let over = false;

const cellsOf = (chunk) => {
  const pcm = new Int16Array(chunk.pcm_data.buffer.slice(chunk.pcm_data.byteOffset, chunk.pcm_data.byteOffset + chunk.pcm_data.length));
  return Array.from({ length: Math.floor(pcm.length / CELL) }, (_, i) => pcm.subarray(i * CELL, (i + 1) * CELL));
};

// Somebody who is joined once, to the same phone, and never touched: what it misses too was lost before it came to relayd's port.
class Witness {
  constructor(user, way) {
    this.user = newUser(`witness-${way}`);
    this.options = { room: user.room, target: user.id, identity: `witness:${user.id}` };
    this.way = way;
    this.heard = new Set();
  }

  async begin() {
    await this.user.mustJoin(this.options);
    if (this.way === 'track') return;
    const stream = this.user.stream();
    stream.onChunk = (chunk) => {
      for (const cell of cellsOf(chunk)) this.heard.add(frameNumber(cell));
      stream.chunks.length = 0;
    };
  }

  async end() {
    await this.user.leave();
    this.user.close();
  }
}

// One user: a phone that speaks, a cloud that listens, and what happens to both.
class Visitor {
  constructor(index) {
    this.way = index % 2 ? 'track' : 'data';
    this.user = newUser(`soak-${this.way}`);
    this.witness = new Witness(this.user, this.way);
    this.said = 0; // by this user's earlier phones: numbers go on
    this.heard = new Set();
    this.stays = []; // from a join to the leave after it: the first and the last number heard
    this.firsts = new Set(); // the number that each phone began with
    // Frames: lost around swaps by relayd's accounts, missing to the witness too, missing to the user alone, come too late.
    this.swapLost = this.upstream = this.alone = this.late = this.lateSeen = 0;
  }

  // What relayd told as late: its count begins anew with each session.
  async countLate() {
    const { data_late, late } = (await session(this.user.id)).source;
    if (data_late + late < this.lateSeen) this.lateSeen = 0;
    this.late += data_late + late - this.lateSeen;
    this.lateSeen = data_late + late;
  }

  async bring() {
    this.phone = await crowd.phone(this.user.id);
    this.phone.dataFrame = this.said;
    this.firsts.add(this.said);
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
    for (const cell of cellsOf(chunk)) {
      totals.frames++;
      if (this.way === 'track') continue;
      const number = frameNumber(cell);
      if (number < 0) totals.strange++;
      else if (this.heard.has(number)) totals.doubled++;
      else if (number < stream.number) totals.disorder++;
      this.heard.add(number);
      stream.number = number;
      stream.stay.first = Math.min(stream.stay.first, number);
      stream.stay.last = Math.max(stream.stay.last, number);
    }
  }

  // Numbers that are missing while the user was joined, over all joins that replaced one another, but for the last window of each
  // stay: what came too late of those is told after the leave. What a phone says while it hangs up is not heard by anybody.
  judge() {
    for (const { first, last } of this.stays)
      for (let n = first, hole = []; n <= last - WINDOW; n++) {
        if (!this.heard.has(n)) hole.push(n);
        else if (hole.length > 0) {
          const lost = [...hole, n].some((each) => this.firsts.has(each)) ? [] : hole;
          for (const each of lost) this.witness.heard.has(each) ? this.alone++ : this.upstream++;
          hole = [];
        }
      }
  }

  async join() {
    const answer = await this.user.join();
    if (!answer.success) totals.failed.push(answer.error);
    const stream = (this.stream = this.user.stream());
    stream.stay = this.stays.at(-1);
    stream.onChunk = (chunk) => {
      this.hear(stream, chunk);
      stream.chunks.length = 0;
    };
    totals.joins++;
    await this.countLate();
  }

  async live() {
    await this.bring();
    await this.witness.begin();
    this.stays.push({ first: Infinity, last: -1 });
    await this.join();
    while (!over) {
      await sleep(2000 + Math.random() * 6000);
      const dice = Math.random();
      if (over) break;
      if (dice < 0.5) {
        await this.join();
        totals.resumes++;
      } else if (dice < 0.75) {
        await this.countLate();
        await this.user.leave();
        totals.leaves++;
        this.stays.push({ first: Infinity, last: -1 });
        await sleep(Math.random() * 2000);
        await this.join();
      } else if (dice < 0.9) {
        await this.dismiss();
        await sleep(Math.random() * 1000);
        await this.bring();
      }
    }
    await this.countLate();
    await this.user.leave();
    await this.dismiss();
    this.user.close();
  }
}

// relayd's accounts of swaps that lost something, since the last look.
let swapsSeen = 0;
async function lossySwaps(visitors) {
  const { swaps } = await ask('ListSwaps');
  for (const swap of swaps.filter(({ number }) => number > swapsSeen).filter(({ frames_lost }) => frames_lost > 0)) {
    visitors.find(({ user }) => user.id === swap.user_id).swapLost += swap.frames_lost;
    console.log(`soak: ${swap.frames_lost} lost around a ${swap.kind} of ${swap.user_id}, longest pause ${(swap.gap_us / 1000).toFixed(0)} ms`);
  }
  swapsSeen = Math.max(swapsSeen, ...swaps.map(({ number }) => number));
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
    await lossySwaps(visitors);
    samples.push({ rss: rss() / 1024, fds: fds(), mbufs: now.mbufs.total - now.mbufs.free });
    const last = samples.at(-1), minute = ((Date.now() - began) / 60000).toFixed(1);
    await watchOwnLosses(minute, now.latency);
    if (samples.length % 3 === 0 || Date.now() >= ends)
      console.log('soak: ' + [minute.padStart(6), last.rss.toFixed(0).padStart(4), String(last.fds).padStart(4), String(last.mbufs).padStart(6), String(now.totals.active_sessions).padStart(9),
        String(totals.joins).padStart(6), String(totals.leaves).padStart(7), String(totals.phones).padStart(7), String(totals.frames).padStart(7), String(now.swaps.frames_lost).padStart(14)].join(' '));
  }
  over = true;
  await Promise.all(lives);
  await sleep(2000); // the last accounts are settled
  await lossySwaps(visitors);
  for (const visitor of visitors) {
    visitor.judge();
    const { source } = await session(visitor.witness.user.id);
    visitor.unheard = visitor.way === 'track' ? source.lost : visitor.upstream;
    await visitor.witness.end();
  }
  const swaps = (await status()).swaps, dropped = await drops(), half = samples.slice(samples.length >> 1), third = Math.ceil(half.length / 3);
  const mean = (list, key) => list.reduce((sum, s) => sum + s[key], 0) / list.length, sum = (key) => visitors.reduce((n, visitor) => n + visitor[key], 0);
  const growth = Object.fromEntries(['rss', 'fds', 'mbufs'].map((key) => [key, mean(half.slice(-third), key) - mean(half.slice(0, third), key)]));
  console.log(`soak: second half: memory ${growth.rss.toFixed(1)} MiB, descriptors ${growth.fds.toFixed(1)}, packet buffers ${growth.mbufs.toFixed(1)} more at its end than at its begin`);
  console.log(`soak: ${totals.frames} frames, ${totals.doubled} doubled, ${totals.disorder} out of order; missing to the untouched witness too: ${sum('unheard')}; to the user alone: ${sum('alone')}; ${sum('late')} came too late`);
  console.log(`soak: ${swaps.count} swaps (${swaps.resumes} resumes), ${swaps.frames_lost} lost around them, ${swaps.frames_doubled} doubled; ${totals.failed.length} joins failed`);
  assert.deepEqual(totals.failed, []);
  assert.deepEqual([totals.strange, totals.doubled, totals.disorder, swaps.frames_doubled], [0, 0, 0, 0]);
  assert.deepEqual(OWN_LOSSES.filter((name) => dropped[name] > 0), []);
  // A swap loses nothing. Twenty SDK phones and a server share this machine's cores, and when these stall, the server does not get all
  // that the phones say (the witness misses it too), and the kernel lets frames overtake each other by more than relayd waits, since
  // a veth's two ends queue per core: those came, and are told as late. Nothing else may be missing, around a swap or elsewhere.
  for (const { user, swapLost, alone, late, unheard } of visitors) {
    assert.ok(alone <= late, `${user.id}: ${alone} frames are missing that the witness has, ${late} came too late`);
    assert.ok(swapLost <= unheard + late, `${user.id}: ${swapLost} lost around swaps, the witness misses ${unheard}, ${late} came too late`);
  }
  assert.ok(growth.rss < GROWTH_MIB, `memory grows: ${samples.map((s) => s.rss.toFixed(0))}`);
  // Sockets of calls that were just replaced are still on their way out.
  assert.ok(growth.fds < USERS / 2, `descriptors grow: ${samples.map((s) => s.fds)}`);
  assert.ok(growth.mbufs < 64, `packet buffers grow: ${samples.map((s) => s.mbufs)}`);
  const settled = samples[0].fds;
  await until('descriptors to settle', () => fds() <= settled, 30000);
});
