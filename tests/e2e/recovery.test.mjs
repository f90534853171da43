// recovery.test.mjs - the reconnection tests of the runbook, and what must come back by itself: networks, servers, dead media paths.
import { test, after } from 'node:test';
import { assert, countOrder, logLines, newUser, nothingLeft, rooms, session, status, testbed, toneSamples, until } from './lib/world.mjs';
import { cutPhones, cutRelayd, heal, program } from './lib/outage.mjs';
import { ms, percentiles, sleep, speaker, swapsOf, wholeVoice } from './lib/swaps.mjs';

after(nothingLeft);
const DEAD = Number(process.env.SWAP_DEAD ?? 4);
// The runbook asks for less than 2 s and the figures below say what it was; the machine of a test run may be twice as slow.
const LIMIT_MS = 4000;

// A voice, not the silence that a server sends for a track whose phone is gone.
const isLoud = ({ pcm_data: pcm }) => { for (let at = 0; at + 1 < pcm.length; at += 2) if (Math.abs(pcm.readInt16LE(at)) > 1000) return true; return false; };

const ours = async (user) => (await rooms().listParticipants(user.room)).filter((p) => p.identity.startsWith('cloud-agent:'));

async function oneOfUs(user) {
  await until('one participant of ours', async () => (await ours(user)).length === 1);
  assert.equal((await user.cloud.getStatus(user.id)).connected, true);
}

test('runbook: the phone is force-quit and comes back after 5 s', async (t) => {
  for (const way of ['data', 'track']) {
    const user = newUser(`quit-${way}`);
    await user.mustJoin();
    const stream = user.stream();
    const first = program('phone.mjs', '--identity', user.id, '--room', user.room, `--${way}`);
    await until('audio', () => stream.bytes > 32000);
    await first.kill();
    await sleep(5000);
    const before = stream.bytes, known = stream.chunks.length;
    const second = program('phone.mjs', '--identity', user.id, '--room', user.room, `--${way}`, '--first', '100000');
    await until('the phone to be back', () => second.lines.length > 0);
    const back = performance.now();
    await until('its voice', () => stream.chunks.slice(known).some(isLoud));
    const took = performance.now() - back;
    assert.ok(took < LIMIT_MS, `audio after ${took} ms`);
    await until('two seconds of it', () => stream.bytes > before + 64000);
    await oneOfUs(user);
    assert.equal((await session(user.id)).source.data_late, 0);
    t.diagnostic(`${way}: audio ${ms(took)} after the phone was in the room again`);
    await user.leave();
    await second.kill('SIGTERM');
    user.close();
  }
});

test('runbook: the cloud is killed and comes back after 5 s', async (t) => {
  const voice = await speaker('cloud', 'data'), { user } = voice;
  await user.mustJoin(); // so that nothing is spoken before the first cloud listens
  await voice.ready();
  const arguments_ = ['cloud.mjs', '--user', user.id, '--room', user.room, '--seconds', '600', '--frames'];
  const first = program(...arguments_);
  await until('its stream', async () => (await session(user.id)).stream.attached);
  voice.speak();
  await until('audio', () => first.lines.length > 100);
  await first.kill();
  await until('relayd to see it go', async () => !(await session(user.id)).stream.attached);
  await sleep(5000);
  const back = performance.now(), second = program(...arguments_);
  await until('audio', () => second.lines.some((line) => 'frame' in line));
  const took = performance.now() - back;
  const backlog = second.lines.length;
  await until('it to be live', async () => {
    const { stream } = await session(user.id);
    return stream.ring_head - stream.delivered < 5;
  });
  await voice.stop();
  const spoken = voice.phone.dataFrame;
  await until('every frame', () => second.lines.some((line) => line.frame === spoken - 1));
  const frames = [first, second].flatMap((cloud) => cloud.lines.filter((line) => 'frame' in line).map((line) => line.frame));
  const order = countOrder(frames), { grpc } = await status();
  assert.deepEqual([order.doubled, order.disorder], [0, 0]);
  const unread = order.lost; // handed to the dead process's socket, and counted when the write had not completed
  assert.ok(unread <= grpc.frames_in_flight_lost + 3, `${unread} missing, ${grpc.frames_in_flight_lost} counted in flight`);
  assert.ok(took < LIMIT_MS, `audio after ${took} ms`);
  await oneOfUs(user);
  assert.equal((await status()).totals.active_sessions, 1);
  // What the runbook searches for: three joins, two of which found a session.
  const said = (message) => logLines().filter((line) => line.message === message && line.userId === user.id);
  await until('the log', () => said('Replacing existing bridge session').length === 2);
  assert.ok(said('Replacing existing bridge session').every((line) => line.reason === 'new_join_request'));
  assert.equal(said('Successfully joined room').length, 3);
  t.diagnostic(`audio ${ms(took)} after the cloud's start; ${spoken} frames spoken, ${unread} in flight to the dead process`);
  await second.kill();
  await until('relayd to see it go', async () => !(await session(user.id)).stream.attached);
  await voice.close();
});

for (const [whose, cut, place] of [['phone', cutPhones, 'phones'], ['relayd', cutRelayd, 'sfu']]) {
  for (const way of ['data', 'track']) {
    test(`runbook: every packet of the ${whose} is dropped for 2 s (${way})`, async (t) => {
      const voice = await speaker(`blip-${whose}-${way}`, way), { user } = voice;
      await user.mustJoin();
      const stream = voice.listen();
      await voice.ready();
      voice.speak();
      await until('audio', () => stream.bytes > 32000);
      cut();
      await sleep(2000);
      heal(place);
      const healed = performance.now(), before = stream.bytes;
      await until('audio', () => stream.bytes > before + 3200);
      const took = performance.now() - healed;
      assert.ok(took < LIMIT_MS, `audio after ${took} ms`);
      await until('three seconds of it', () => stream.bytes > before + 96000);
      await voice.stop();
      await oneOfUs(user);
      assert.equal(stream.status, undefined, 'the stream stays open');
      const { source } = await session(user.id);
      // Nothing came that was not used: what is missing is missing in the numbering.
      assert.deepEqual([source.late, source.data_late, source.duplicate, source.decode_errors], [0, 0, 0, 0], JSON.stringify(source));
      if (way === 'data') {
        const order = countOrder((await import('./lib/world.mjs')).receivedNumbers(stream));
        assert.deepEqual([order.doubled, order.disorder], [0, 0]);
      }
      t.diagnostic(`audio ${ms(took)} after the network; ${source.lost + source.data_lost} packets never came`);
      await voice.close();
    });
  }
}

test('a media path that is dead for 17 s is brought back by an ICE restart, not a zombie', async (t) => {
  const voice = await speaker('zombie', 'track'), { user } = voice;
  await user.mustJoin();
  const stream = voice.listen();
  voice.speak();
  await until('audio', () => stream.bytes > 16000);
  cutRelayd({ media: true });
  await until('relayd to notice', async () => (await session(user.id)).state === 'recovering', 30000);
  assert.equal((await user.cloud.getStatus(user.id)).connected, false);
  await sleep(1500);
  heal('sfu');
  const healed = performance.now();
  await until('the session to be back', async () => (await session(user.id)).state === 'connected', 30000);
  const before = stream.bytes;
  await until('audio', () => stream.bytes > before + 16000);
  t.diagnostic(`connected ${ms(performance.now() - healed)} after the network`);
  assert.equal(stream.status, undefined, 'the stream stays open');
  await oneOfUs(user);
  await voice.stop();
  await voice.close();
});

test('JoinRoom over a dead media path: resume with an ICE restart, or a full join, in under 2 s', async (t) => {
  const voice = await speaker('dead', 'track'), { user } = voice;
  await user.mustJoin();
  voice.listen();
  voice.speak();
  await until('audio', () => voice.bytes() > 16000);
  cutRelayd({ media: true });
  await sleep(2500); // the consent is not yet missed, but nothing answers
  const answer = user.join();
  await sleep(600); // the probe has failed by now
  heal('sfu');
  const healed = performance.now();
  assert.equal((await answer).success, true);
  const stream = voice.listen(), before = stream.bytes;
  await until('audio', () => stream.bytes > before + 3200);
  assert.ok(performance.now() - healed < LIMIT_MS, `${performance.now() - healed} ms`);
  await until('the account', async () => (await swapsOf(user.id)).some((swap) => swap.result === 'done'));
  const [swap] = await swapsOf(user.id);
  t.diagnostic(`${swap.kind}${swap.cause && `, ${swap.cause}`}: audio ${ms(performance.now() - healed)} after the network, gap ${Math.round(swap.gap_us / 1000)} ms`);
  await oneOfUs(user);
  await voice.stop();
  await voice.close();
});

test(`${DEAD} full joins of a dead transport: the server has died and is back`, async (t) => {
  const answers = [], audio = [], gaps = [];
  for (let i = 0; i < DEAD; i++) {
    const user = newUser('full');
    await user.mustJoin();
    const stream = user.stream();
    testbed('stop', 'sfu');
    testbed('start', 'sfu');
    const phone = await user.phone(), speaking = {};
    await phone.publish();
    const speech = phone.speakTrack(toneSamples(48000), speaking);
    const began = performance.now(), answer = await user.join();
    assert.equal(answer.error, '');
    answers.push(performance.now() - began);
    assert.equal((await stream.ended).code, 0);
    const next = user.stream();
    await until('audio', () => next.bytes > 0);
    audio.push(performance.now() - began);
    await until('the account', async () => (await swapsOf(user.id)).some((swap) => swap.result === 'done'));
    const [swap] = await swapsOf(user.id);
    gaps.push(swap.audio_us / 1000);
    await oneOfUs(user);
    speaking.stop = true;
    await speech;
    await user.leave();
    await phone.leave();
    user.close();
  }
  const a = percentiles(answers), b = percentiles(audio), c = percentiles(gaps);
  t.diagnostic(`JoinRoom to its answer p50 ${ms(a.p50)}, p99 ${ms(a.p99)}; to the first frame p50 ${ms(b.p50)}, p99 ${ms(b.p99)} (inside relayd p50 ${ms(c.p50)})`);
});
