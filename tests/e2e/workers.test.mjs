// workers.test.mjs - two adaptive workers on a port of two queues: packets that arrive at the wrong worker are handed over.
// testbed: --workers 0,1
import { test, after } from 'node:test';
import { readFileSync, readdirSync } from 'node:fs';
import {
  assert, countOrder, newUser, nothingLeft, receivedNumbers, session, status, until,
} from './lib/world.mjs';
import { shortTests } from './lib/short.mjs';

test('only workers are pinned', () => {
  const tasks = `/proc/${process.env.RELAYD_PID}/task`;
  const everywhere = /Cpus_allowed_list:\s+(\S+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1];
  const pinned = [];
  for (const task of readdirSync(tasks)) {
    const name = readFileSync(`${tasks}/${task}/comm`, 'utf8').trim();
    const cpus = /Cpus_allowed_list:\s+(\S+)/.exec(readFileSync(`${tasks}/${task}/status`, 'utf8'))[1];
    if (/worker-\d+$/.test(name) && /^(rte|lcore)/.test(name)) pinned.push(cpus);
    else assert.equal(cpus, everywhere, `thread ${name} is pinned to ${cpus}`);
  }
  assert.deepEqual(pinned.sort(), ['0', '1']);
});

shortTests('two workers');

test('two workers: many users, every frame', async () => {
  const users = Array.from({ length: 6 }, () => newUser('spread'));
  const phones = await Promise.all(users.map((user) => user.phone()));
  await Promise.all(users.map((user) => user.mustJoin()));
  const streams = users.map((user) => user.stream());
  await Promise.all(users.map((user) => until('data', async () => (await session(user.id)).transport.data_open)));
  await Promise.all(phones.map((phone) => phone.speakData(150)));
  await Promise.all(streams.map((stream) => until('150 frames', () => stream.bytes >= 150 * 640)));
  for (const stream of streams)
    assert.deepEqual(countOrder(receivedNumbers(stream)), { received: 150, first: 0, last: 149, lost: 0, doubled: 0, disorder: 0 });
  const { workers } = await status();
  assert.ok(workers.every((worker) => worker.rx_packets > 0), 'both queues received');
  assert.ok(workers.every((worker) => worker.frames > 0), 'both workers wrote frames');
  await Promise.all(users.map((user) => user.leave()));
  await Promise.all(phones.map((phone) => phone.leave()));
  users.forEach((user) => user.close());
});

after(nothingLeft);
