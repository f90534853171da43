// hostile_clients.test.mjs - whoever may call may also misbehave: nobody else loses a frame, and relayd has everything back afterwards.
import { test, before, after } from 'node:test';
import { execFile, execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import {
  Cloud, assert, countOrder, drops, fds, logLines, newUser, nothingLeft, receivedNumbers, rss, session, status, until,
} from './lib/world.mjs';

const SECONDS = Number(process.env.HOSTILE_SECONDS ?? 1.2);
const program = path.join(path.dirname(process.env.RELAYD), 'grpc-attack');
const socket = process.env.BRIDGE_ADDR.replace(/^unix:/, '');
const run = promisify(execFile);

// One who talks all the time and is listened to; another whose stream the attacker opens.
const user = newUser('talker'), prey = newUser('prey');
const speaking = {}, sentAt = [], delays = [];
let phone, stream, preyPhone, speech, preySpeech;

before(async () => {
  phone = await user.phone();
  preyPhone = await prey.phone();
  await user.mustJoin();
  await prey.mustJoin();
  stream = user.stream();
  stream.onChunk = () => {
    for (; (delays.length + 1) * 640 <= stream.bytes; ) delays.push(performance.now() - sentAt[delays.length]);
  };
  for (const each of [user, prey]) await until('the data channel', async () => (await session(each.id)).transport.data_open);
  const send = phone.sendData.bind(phone);
  phone.sendData = (pcm) => {
    sentAt.push(performance.now());
    return send(pcm);
  };
  speech = phone.speakData(Infinity, speaking);
  preySpeech = preyPhone.speakData(Infinity, speaking);
  await until('one second of speech', () => delays.length >= 50);
});

after(async () => {
  speaking.stop = true;
  await Promise.all([speech, preySpeech]);
  for (const each of [user, prey]) {
    await each.leave();
    each.close();
  }
  await phone.leave();
  await preyPhone.leave();
  await nothingLeft();
});

// Everything that was said until now is here, once and in order.
async function nothingLost(what) {
  const said = sentAt.length;
  await until(`all ${said} frames after ${what}`, () => delays.length >= said, 5000).catch(() => {});
  const order = countOrder(receivedNumbers(stream));
  assert.deepEqual([order.lost, order.doubled, order.disorder], [0, 0, 0], `${what}: ${JSON.stringify(order)}`);
  assert.ok(order.received >= said, `${what}: ${order.received} of ${said} frames came`);
  assert.equal(order.first, 0);
}

const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];

async function attack(name, seconds = SECONDS, more = []) {
  const from = delays.length, before = (await status()).grpc;
  // It shall have what is left of the machine, which is also the phone's and the LiveKit server's.
  const { stdout } = await run('nice', ['-n', '10', program, socket, name, String(seconds), ...more]);
  await nothingLost(name);
  const sorted = delays.slice(from).sort((a, b) => a - b), grpc = (await status()).grpc;
  const said = { ...JSON.parse(stdout), cutByBudget: grpc.connections_cut - before.connections_cut };
  console.log(`${name}: ${JSON.stringify(said)}; phone to cloud p50 ${at(sorted, 0.5).toFixed(1)} p99 ${at(sorted, 0.99).toFixed(1)} ms; relayd ${rss() >> 10} MiB`);
  // Another caller is served.
  const other = new Cloud();
  assert.equal((await other.getStatus(user.id)).connected, true);
  other.close();
  return said;
}

const attacks = ['rapid-reset', 'hpack-burn', 'hpack-varint', 'big-messages', 'gzip-bomb', 'silent-streams', 'half-open', 'ping-flood', 'settings-flood', 'garbage'];

test('no attack costs the one who talks a frame, and relayd has its memory and descriptors back', async () => {
  const fdsBefore = fds();
  for (const name of attacks) {
    const said = await attack(name);
    assert.ok(said.connections > 0, `${name} was not tried`);
    if (name === 'rapid-reset') assert.ok(said.cutByBudget > 0, 'a rapid reset is cut');
  }
  await until('descriptors to settle', () => fds() <= fdsBefore + 2);
  // What the first round took is used again by a second one.
  const kept = rss();
  for (const name of attacks) await attack(name, SECONDS / 2);
  await until('descriptors to settle', () => fds() <= fdsBefore + 2);
  console.log(`memory after the first round ${kept >> 10} MiB, after the second ${rss() >> 10} MiB`);
  assert.ok(rss() < kept + 24 * 1024, `${kept} KiB became ${rss()}`);
});

test('who does not read is bounded by the age of what waits', async () => {
  const before = rss(), lapped = async () => (await drops()).PCM_LAPPED ?? 0, lappedBefore = await lapped();
  await attack('slow-reader', 13, [prey.id]);
  assert.ok(rss() < before + 8 * 1024, `${before} KiB became ${rss()}`);
  // Who comes next hears what the ring still holds, 10 s of it, and what it does not is counted.
  const heard = prey.stream();
  await until('the ring and more', () => heard.bytes > 520 * 640);
  const order = countOrder(receivedNumbers(heard));
  assert.deepEqual([order.lost, order.doubled, order.disorder], [0, 0, 0], JSON.stringify(order));
  assert.ok((await lapped()) > lappedBefore, 'what was too old is counted');
});

// How many of the next descriptors' numbers are free below which limit.
function limitFor(free) {
  const taken = new Set(readdirSync(`/proc/${process.env.RELAYD_PID}/fd`).map(Number));
  let limit = 0;
  for (let left = free; left > 0; limit++) if (!taken.has(limit)) left--;
  return limit;
}

// A request as its bytes are, whatever the protocol says.
function raw(cloud, method, bytes) {
  return new Promise((resolve) => {
    const call = cloud.client.makeUnaryRequest(`/mentra.livekit.bridge.LiveKitBridge/${method}`, (b) => b, (b) => b, bytes, { deadline: Date.now() + 10000 },
      (error, answer) => resolve(error ?? { code: 0, details: answer.toString('latin1') }));
    void call;
  });
}
const field = (number, value) => {
  const data = Buffer.from(value), length = [];
  for (let n = data.length; ; n >>= 7) {
    if (n < 128) { length.push(n); break; }
    length.push((n & 127) | 128);
  }
  return Buffer.concat([Buffer.from([number << 3 | 2, ...length]), data]);
};

test('user ids that are none are refused by name', async () => {
  const cloud = new Cloud();
  const ids = [
    [Buffer.from([0xc3, 0x28]), /user_id is not valid UTF-8/], [Buffer.from([0xed, 0xa0, 0x80]), /user_id is not valid UTF-8/],
    [Buffer.from('a\0b'), /user_id contains a NUL byte/], [Buffer.alloc(256, 'a'), /user_id is longer than 255 bytes/],
    [Buffer.alloc(500000, 'a'), /user_id is longer than 255 bytes/], [Buffer.alloc(0), /user_id is required/],
  ];
  for (const [id, pattern] of ids) {
    for (const method of ['JoinRoom', 'LeaveRoom']) {
      const answer = await raw(cloud, method, field(1, id));
      assert.ok(answer.code === 0 || answer.code === 3, `${method}: ${answer.code} ${answer.details}`);
      assert.match(answer.details, method === 'LeaveRoom' && id.length === 0 ? /session not found|user_id/ : pattern, `${method} with ${id.length} bytes`);
    }
    assert.equal((await raw(cloud, 'GetStatus', field(1, id))).code, 0); // never an error: nobody of that name is connected
  }
  for (const [bytes, code, pattern] of [
    [Buffer.alloc(10 << 20), 8, /larger than max/], [field(1, Buffer.alloc(10 << 20, 'a')), 8, /larger than max/],
    [Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]), 3, /does not parse/], [Buffer.alloc(2000, 0x0b), 3, /does not parse/],
  ]) {
    const answer = await raw(cloud, 'JoinRoom', bytes);
    assert.equal(answer.code, code, answer.details);
    assert.match(answer.details, pattern);
  }
  cloud.close();
  await nothingLost('bad requests');
});

test('out of file descriptors: joins say so, who talks goes on, and it is over when they are back', async () => {
  const pid = process.env.RELAYD_PID, refusedBefore = (await status()).grpc.connections_refused;
  const prlimit = (soft) => execFileSync('prlimit', ['--pid', pid, `--nofile=${soft}:`]);
  const old = execFileSync('prlimit', ['--pid', pid, '--nofile', '--noheadings', '--output', 'SOFT'], { encoding: 'utf8' }).trim();
  const poor = newUser('poor');
  await poor.cloud.healthCheck(); // it has its connection
  const had = fds();
  let answer;
  try {
    prlimit(limitFor(8)); // four connections, two descriptors each
    const attacking = run(program, [socket, 'half-open', String(SECONDS + 1)]);
    await until('connections to be refused', async () => (await status()).grpc.connections_refused > refusedBefore);
    answer = await poor.join();
    await attacking;
  } finally {
    prlimit(old);
  }
  assert.equal(answer.success, false);
  assert.match(answer.error, /failed to connect to room: /);
  await nothingLost('an exhaustion of descriptors');
  await until('descriptors to settle', () => fds() <= had + 2);
  await poor.mustJoin();
  await poor.leave();
  poor.close();
  assert.ok(logLines().some((line) => line.message === 'gRPC connection refused' && /descriptors|open files/.test(line.reason)));
});

