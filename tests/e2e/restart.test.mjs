// restart.test.mjs - relayd ends and its successor takes over the listening sockets: nobody is refused, and a JoinRoom is
// answered within 1.5 s of the SIGTERM (production's client tries once, 2 s after an error).
// testbed: --inherit
import { test, after } from 'node:test';
import net from 'node:net';
import { Cloud, assert, logLines, newUser, nothingLeft, sleep, status, token, toneSamples, until, url } from './lib/world.mjs';

after(nothingLeft);

const LIMIT_MS = 1500;

// Connects all the time until stop() is called; answers how often, and with which errors.
function knocking() {
  const path = process.env.BRIDGE_ADDR.replace('unix:', ''), seen = { tries: 0, errors: [] };
  let stopped = false;
  const ended = (async () => {
    while (!stopped) {
      seen.tries++;
      await new Promise((done) => {
        const socket = net.connect(path, () => { socket.destroy(); done(); });
        socket.on('error', (error) => { seen.errors.push(error.code); done(); });
      });
      await sleep(5);
    }
  })();
  return { async stop() { stopped = true; await ended; return seen; } };
}

test('SIGTERM: streams end UNAVAILABLE, the next process answers JoinRoom in time, nobody is refused', async () => {
  const user = newUser('restart'), phone = await user.phone(), speaking = {};
  await phone.publish();
  const speech = phone.speakTrack(toneSamples(48000), speaking);
  await user.mustJoin();
  const stream = user.stream();
  await until('audio', () => stream.bytes >= 32000);
  const before = await status(), knocks = knocking();

  const began = performance.now();
  process.kill(before.pid, 'SIGTERM');
  await until('the old process to stop', () => logLines().some((line) => line.message === 'Stopping'), LIMIT_MS);
  // A client that calls while nobody serves waits in the socket's queue, and its one try succeeds.
  const fresh = new Cloud(undefined, { 'grpc.use_local_subchannel_pool': 1 }); // a connection of its own
  const jwt = await token(`cloud-agent:${user.id}`, user.room);
  const answer = await fresh.joinRoom(user.id, user.room, jwt, url, user.id).catch((error) => ({ error: error.details }));
  const took = performance.now() - began;
  const seen = await knocks.stop();
  assert.equal(answer.success, true, answer.error);
  assert.ok(took < LIMIT_MS, `${Math.round(took)} ms from SIGTERM to the answer`);
  assert.deepEqual(seen.errors, [], `of ${seen.tries} connections`);
  assert.notEqual((await status()).pid, before.pid);
  console.log(`  ${Math.round(took)} ms from SIGTERM to JoinRoom's answer; ${seen.tries} connections meanwhile, none refused`);
  const ended = await stream.ended;
  assert.equal(ended.code, 14, ended.details);
  await user.mustJoin(); // the old client was told to connect anew: one try is enough for it too

  const again = user.stream();
  await until('audio of the next process', () => again.bytes >= 32000);
  speaking.stop = true;
  await speech;
  await user.leave();
  assert.equal((await again.ended).code, 0);
  await phone.leave();
  fresh.close();
  user.close();
});
