// ice_lite.test.mjs - a server that sends no checks of its own: ours alone keep the session alive.
// testbed: --ice-lite
import { test, after } from 'node:test';
import { assert, newUser, nothingLeft, session, sleep } from './lib/world.mjs';
import { shortTests } from './lib/short.mjs';

shortTests('ICE-lite');

test('ICE-lite: still there after the server would have given up', async () => {
  const user = newUser('lite');
  await user.mustJoin();
  await sleep(20000); // the server drops a silent peer after 15 to 16 s
  const seen = await session(user.id);
  assert.equal(seen.state, 'connected');
  assert.ok(seen.transport.consent_age_ms < 5000, `consent is ${seen.transport.consent_age_ms} ms old`);
  assert.equal((await user.cloud.getStatus(user.id)).connected, true);
  await user.leave();
  user.close();
});

after(nothingLeft);
