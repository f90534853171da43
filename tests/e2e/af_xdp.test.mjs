// af_xdp.test.mjs - the main job through an AF_XDP port, and frames of the kernel and the port are all accounted for.
// testbed: --device af_xdp
import { test, after } from 'node:test';
import { assert, drops, nothingLeft, status } from './lib/world.mjs';
import { shortTests } from './lib/short.mjs';

shortTests('af_xdp');

test('af_xdp: the port is what was asked for, and lost nothing', async () => {
  const { ports } = await status();
  assert.equal(ports.length, 1);
  assert.equal(ports[0].device, 'af_xdp:media0');
  assert.ok(ports[0].rx_packets > 300, `${ports[0].rx_packets} packets`);
  assert.equal((await drops()).TX_RING_FULL ?? 0, 0);
});

after(nothingLeft);
