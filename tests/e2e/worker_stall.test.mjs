// worker_stall.test.mjs - a worker that stands still for 200 ms: what its ring holds is not lost, what it cannot hold is counted, and
// everybody is well afterwards.
import { test, before, after } from 'node:test';
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import {
  assert, countOrder, drops, logLines, newUser, nothingLeft, receivedNumbers, session, sleep, status, testbed, toneLoop, until,
} from './lib/world.mjs';

const STALL_MS = 200, FRAMES = 20000; // more than a receive ring has
const stall = path.join(path.dirname(process.env.RELAYD), 'thread-stall');
const data = newUser('data'), track = newUser('track'), speaking = {};
let dataPhone, trackPhone, stream, trackStream, speeches;

before(async () => {
  [dataPhone, trackPhone] = [await data.phone(), await track.phone()];
  await trackPhone.publish();
  await data.mustJoin();
  await track.mustJoin();
  [stream, trackStream] = [data.stream(), track.stream()];
  await until('the data channel', async () => (await session(data.id)).transport.data_open);
  speeches = [dataPhone.speakData(Infinity, speaking), trackPhone.speakTrack(toneLoop(), speaking, { loop: true })];
  await until('one second of speech', () => stream.bytes >= 32000 && trackStream.bytes >= 32000);
});

after(async () => {
  speaking.stop = true;
  await Promise.all(speeches);
  for (const each of [data, track]) {
    await each.leave();
    each.close();
  }
  await dataPhone.leave();
  await trackPhone.leave();
  await nothingLeft();
});

function workerThread() {
  const tasks = `/proc/${process.env.RELAYD_PID}/task`;
  return readdirSync(tasks).find((task) => /worker-\d+$/.test(readFileSync(`${tasks}/${task}/comm`, 'utf8').trim()));
}

// The worker stands still while during() goes on, and for STALL_MS at least.
async function stalled(during) {
  const child = spawn(stall, [workerThread(), String(STALL_MS)], { stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (text) => (said += text));
  const exit = new Promise((done) => child.on('exit', done));
  await until('the worker to stand still', () => said.includes('stopped'), 5000);
  await during();
  child.stdin.end();
  assert.equal(await exit, 0);
  return said.trim().split('\n').at(-1);
}

async function said() {
  const count = dataPhone.dataFrame;
  await until('what was said so far', async () => stream.bytes / 640 + (await session(data.id)).source.data_lost >= count);
  return receivedNumbers(stream);
}

const lossOf = async (user) => ((source) => source.lost + source.concealed + source.late + source.data_lost + source.data_late)((await session(user.id)).source);
const missing = async (user) => ((source) => source.lost + source.concealed + source.data_lost)((await session(user.id)).source);

test('with nothing but people who talk, 200 ms cost no frame', async (t) => {
  const before = await drops();
  const took = await stalled(() => sleep(STALL_MS));
  const order = countOrder(await said());
  assert.deepEqual([order.first, order.lost, order.doubled, order.disorder], [0, 0, 0, 0], JSON.stringify(order));
  assert.deepEqual([await lossOf(data), await lossOf(track)], [0, 0]);
  const now = await drops();
  assert.equal(now.KERNEL_RING_FULL ?? 0, before.KERNEL_RING_FULL ?? 0);
  t.diagnostic(`stood still for ${took}; ${order.received} frames, none lost`);
});

test('in a flood: the ring keeps what it has room for, the rest is counted, and the voice goes on', async (t) => {
  const { ports } = await status(), address = ports[0].address.split('/')[0];
  const ring = Number(/rings of (\d+) frames/.exec(logLines().map((line) => line.message).join('\n'))?.[1] ?? 8192);
  const before = await drops(), delta = (now, name) => (now[name] ?? 0) - (before[name] ?? 0);
  const took = await stalled(() => testbed('exec', 'sfu', 'python3', '-c', `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(${FRAMES}): s.sendto(b"x", ("${address}", 29999))`));
  let now;
  await until('every frame to be accounted for', async () => {
    now = await drops();
    return delta(now, 'KERNEL_RING_FULL') + delta(now, 'UDP_NO_TRANSPORT') >= FRAMES;
  });
  const arrived = delta(now, 'UDP_NO_TRANSPORT'), dropped = delta(now, 'KERNEL_RING_FULL'), ours = dropped + arrived - FRAMES;
  // The rest of the ring holds what the server sent to the talkers; the rest of what was dropped was theirs.
  assert.ok(arrived <= ring && arrived > ring - 300, `${arrived} of a ring of ${ring}`);
  assert.ok(ours >= 0 && ours < 300, `${dropped} dropped and ${arrived} arrived of ${FRAMES}`);
  const numbers = await said(), order = countOrder(numbers), { source } = await session(data.id);
  assert.deepEqual([order.first, order.doubled, order.disorder], [0, 0, 0]);
  assert.equal(order.lost, source.data_lost, 'what is missing is what is counted');
  assert.ok(order.lost <= ours, `${order.lost} frames are missing, the kernel dropped ${ours} of the talkers' packets`);
  // The track's hole is told with the packets behind it.
  const told = trackStream.bytes + 16000;
  await until('the track to be past it', () => trackStream.bytes >= told);
  // All is well again: a second of each voice with nothing missing. (The server repeats what was dropped, a second late.)
  const lost = [await missing(data), await missing(track)], from = [stream.bytes, trackStream.bytes];
  await until('another second', () => stream.bytes >= from[0] + 32000 && trackStream.bytes >= from[1] + 32000);
  assert.deepEqual([await missing(data), await missing(track)], lost);
  for (const each of [data, track]) assert.equal((await session(each.id)).state, 'connected');
  t.diagnostic(`stood still for ${took}; of ${FRAMES} frames ${arrived} lay in the ring of ${ring}, ${dropped} were dropped and counted, ${ours} of them the talkers': ${order.lost} frames of the data way`);
});
