// failures.test.mjs - what can go wrong answers rightly, in the right field, in bounded time, and leaves nothing behind.
import { test, after } from 'node:test';
import net from 'node:net';
import {
  assert, fds, logLines, newUser, nothingLeft, rooms, session, sleep, status, testbed, token, toneSamples, until, url,
} from './lib/world.mjs';

after(nothingLeft);

async function refused(user, options, pattern, ms = 12000) {
  const began = performance.now();
  const answer = await user.join(options);
  assert.equal(answer.success, false);
  assert.match(answer.error, pattern);
  assert.doesNotMatch(answer.error, /eyJ/, 'a token in the error');
  assert.ok(performance.now() - began < ms, `answered after ${performance.now() - began} ms`);
  return answer;
}

test('wrong and expired tokens are refused with their reason', async () => {
  const user = newUser('token');
  await refused(user, { jwt: 'no token at all' }, /failed to connect to room: /);
  await refused(user, { jwt: await token('x', user.room, { keySecret: 'another-secret-of-32-characters-long!' }) }, /401|invalid|signature/);
  await refused(user, { jwt: await token('x', user.room, { ttl: -3600 }) }, /401|expired/);
  await refused(user, { jwt: await token('x', user.room, { grant: { roomJoin: false } }) }, /failed to connect/);
  const seen = await user.cloud.getStatus(user.id);
  assert.equal(seen.connected, false);
  user.close();
});

test('arguments that are missing are named', async () => {
  const user = newUser('arguments');
  const jwt = await token('x', user.room);
  const cases = [['', url, jwt, /user_id/], [user.id, '', jwt, /url/i], [user.id, url, '', /token/], [user.id, 'ftp://x', jwt, /failed/]];
  for (const [id, at, with_token, pattern] of cases) {
    const answer = await user.cloud.joinRoom(id, user.room, with_token, at, user.id);
    assert.equal(answer.success, false);
    assert.match(answer.error, pattern);
  }
  user.close();
});

test('an unreachable, an unknown and a silent server', async () => {
  const user = newUser('server');
  await refused(user, { at: `ws://${process.env.PHONE_HOST}:9` }, /failed to connect to room: /);
  await refused(user, { at: 'ws://there.is.no.such.host.invalid:7880' }, /failed to connect to room: /);
  const silent = net.createServer(() => {});
  await new Promise((done) => silent.listen(0, process.env.PHONE_HOST, done));
  await refused(user, { at: `ws://${process.env.PHONE_HOST}:${silent.address().port}` }, /failed to connect to room: /);
  silent.close();
  const rude = net.createServer((socket) => socket.end('HTTP/1.1 503 Busy\r\ncontent-length: 9\r\n\r\ncome back'));
  await new Promise((done) => rude.listen(0, process.env.PHONE_HOST, done));
  await refused(user, { at: `ws://${process.env.PHONE_HOST}:${rude.address().port}` }, /503/);
  rude.close();
  user.close();
});

test('streams without a user or a session', async () => {
  const user = newUser('stream');
  assert.equal((await user.stream().ended).code, 5);
  assert.equal((await user.cloud.streamAudio('').ended).code, 3);
  const answer = await user.leave();
  assert.equal(answer.success, false);
  assert.equal(answer.error, 'session not found');
  const seen = await user.cloud.getStatus('');
  assert.equal(seen.connected, false);
  user.close();
});

test('removed, deleted, stolen: reported, not rejoined', async () => {
  const ways = [
    ['participant_removed', 14, (user) => rooms().removeParticipant(user.room, `cloud-agent:${user.id}`)],
    ['room_deleted', 14, (user) => rooms().deleteRoom(user.room)],
    ['duplicate_identity', 0, (user) => user.thief.join({ room: user.room, identity: `cloud-agent:${user.id}`, target: '' })],
  ];
  for (const [reason, code, act] of ways) {
    const user = newUser('lost');
    user.thief = newUser('thief');
    await user.mustJoin();
    const stream = user.stream();
    await sleep(100);
    await act(user);
    const ended = await stream.ended;
    assert.equal(ended.code, code, `${reason}: ${ended.details}`);
    const seen = await user.cloud.getStatus(user.id);
    assert.equal(seen.connected, false);
    assert.equal(seen.last_disconnect_reason, reason);
    assert.ok(Number(seen.last_disconnect_at) > Date.now() - 10000);
    await user.leave();
    await user.thief.leave();
    user.thief.close();
    user.close();
  }
});

test('twenty joins at once are one session', async () => {
  const user = newUser('many');
  const jwt = await token(`cloud-agent:${user.id}`, user.room);
  const answers = await Promise.all(Array.from({ length: 20 }, () => user.join({ jwt })));
  for (const answer of answers) assert.equal(answer.success, true, answer.error);
  const inside = (await rooms().listParticipants(user.room)).map((p) => p.identity);
  assert.deepEqual(inside, [`cloud-agent:${user.id}`]);
  await user.leave();
  user.close();
});

test('a newer join wins, a cancelled one leaves nothing', async () => {
  const user = newUser('races');
  const first = user.join({ identity: 'a', room: `${user.room}-a` });
  const second = await user.mustJoin({ identity: 'b', room: `${user.room}-b` });
  const answer = await first;
  if (!answer.success) assert.match(answer.error, /superseded/);
  assert.equal(second.participant_id, 'b');
  await user.leave();
  const gone = newUser('cancelled');
  await assert.rejects(gone.join({ call: { deadline: Date.now() + 3 } }));
  await until('nobody in the room', async () => (await rooms().listParticipants(gone.room)).length === 0);
  assert.equal((await gone.cloud.getStatus(gone.id)).connected, false);
  user.close();
  gone.close();
});

test('leave and join again at once keeps the voice', async () => {
  const user = newUser('rejoin'), phone = await user.phone();
  await user.mustJoin();
  const first = user.stream();
  await until('the data channel', async () => (await session(user.id)).transport.data_open);
  const speech = phone.speakData(300);
  await until('1 s', () => first.bytes >= 32000);
  await user.leave();
  assert.equal((await first.ended).code, 0);
  await user.mustJoin();
  const second = user.stream();
  await speech;
  await until('every frame', () => first.bytes + second.bytes >= 300 * 640);
  assert.equal(first.bytes + second.bytes, 300 * 640);
  assert.ok(logLines().some((line) => line.message === 'Replacing existing bridge session' && line.reason === 'new_join_request'));
  await user.leave();
  await phone.leave();
  user.close();
});

test('the server restarts: relayd comes back by itself', async () => {
  const user = newUser('restart');
  await user.mustJoin();
  const stream = user.stream();
  testbed('restart', 'sfu');
  await until('the session to be back', async () => (await user.cloud.getStatus(user.id)).connected && (await session(user.id)).state === 'connected', 40000);
  const phone = await user.phone(), speaking = {};
  await phone.publish();
  const speech = phone.speakTrack(toneSamples(48000), speaking);
  await until('audio on the stream that stayed open', () => stream.bytes >= 32000);
  speaking.stop = true;
  await speech;
  await user.leave();
  await phone.leave();
  user.close();
});

test('fifty joins and leaves leave no descriptor behind', async () => {
  const user = newUser('leak');
  const cycle = async () => {
    await user.mustJoin();
    await user.leave();
    await until('the slot to go', async () => (await status()).totals.grace === 0);
  };
  for (let i = 0; i < 5; i++) await cycle();
  const before = fds();
  for (let i = 0; i < 50; i++) await cycle();
  await until('descriptors to settle', () => fds() <= before + 2);
  user.close();
});
