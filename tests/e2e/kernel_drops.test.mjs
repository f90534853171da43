// kernel_drops.test.mjs - frames that the kernel drops because relayd did not run for a while are counted, by name and to the last.
import { test, after } from 'node:test';
import { assert, drops, nothingLeft, status, testbed, until } from './lib/world.mjs';

after(nothingLeft);

const FRAMES = 20000; // more than a receive ring of 8192

test('a stopped relayd: what the kernel dropped and what arrived is what was sent', async () => {
  const { ports, pid } = await status();
  const address = ports[0].address.split('/')[0];
  const send = (count) => testbed('exec', 'sfu', 'python3', '-c', `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(${count}): s.sendto(b"x", ("${address}", 29999))`);
  const total = async () => ((all) => (all.KERNEL_RING_FULL ?? 0) + (all.UDP_NO_TRANSPORT ?? 0))(await drops());
  send(1); // now both sides know each other
  await until('the first frame', async () => (await total()) === 1);
  process.kill(pid, 'SIGSTOP');
  try {
    send(FRAMES);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await until('every frame to be accounted for', async () => (await total()) >= 1 + FRAMES, 20000);
  const now = await drops();
  assert.equal(await total(), 1 + FRAMES);
  assert.ok(now.KERNEL_RING_FULL > FRAMES / 2, `${now.KERNEL_RING_FULL} dropped by the kernel`);
});
