// swap.test.mjs - always replace: JoinRoom over a living session loses no frame, doubles none, and tells the truth about it.
import { test, after } from 'node:test';
import { Phone, assert, newUser, nothingLeft, rooms, session, status, toneSamples, token, until } from './lib/world.mjs';
import { secondServer } from './lib/outage.mjs';
import { lightPhones } from './lib/phones.mjs';
import { ms, percentiles, sleep, speaker, swapsOf, wholeVoice } from './lib/swaps.mjs';

after(nothingLeft);
const RESUMES = Number(process.env.SWAP_RESUMES ?? 60), USERS = Number(process.env.SWAP_USERS ?? 20);
const EACH = Number(process.env.SWAP_EACH ?? 5), IDENTITIES = Number(process.env.SWAP_IDENTITIES ?? 16);
const ROOMS = Number(process.env.SWAP_ROOMS ?? 6), MUTES = Number(process.env.SWAP_MUTES ?? 12);
const WAYS = (process.env.SWAP_WAYS ?? 'track,data').split(','); // of the crowd

// The last KEPT accounts are kept for all users together.
const KEPT = 400;
const settled = (user, count) =>
  until('the accounts', async () => (await swapsOf(user.id)).filter((swap) => swap.result === 'done').length >= Math.min(count, KEPT));

function account(swaps, kind) {
  for (const swap of swaps) {
    assert.equal(swap.kind, kind, JSON.stringify(swap));
    assert.equal(swap.result, 'done');
    assert.deepEqual([swap.frames_lost, swap.frames_doubled], [0, 0], JSON.stringify(swap));
  }
}

for (const way of ['track', 'data']) {
  test(`${way}: ${RESUMES} resumes while the user speaks`, async (t) => {
    const voice = await speaker(`resume-${way}`, way), { user } = voice;
    await user.mustJoin();
    voice.listen();
    await voice.ready();
    voice.speak();
    await until('audio', () => voice.bytes() > 16000);
    const { participant_id: before } = await session(user.id);
    for (let i = 0; i < RESUMES; i++) {
      await voice.rejoin();
      await sleep(Math.random() * 60);
    }
    await voice.stop();
    await settled(user, RESUMES);
    const heard = await wholeVoice(voice);
    account(await swapsOf(user.id), 'resume');
    for (const stream of voice.streams.slice(0, -1)) assert.equal((await stream.ended).code, 0);
    const inside = (await rooms().listParticipants(user.room)).map((p) => p.identity).filter((id) => id !== user.id);
    assert.deepEqual(inside, [before]);
    const p = percentiles(voice.answers);
    t.diagnostic(`${RESUMES} resumes, ${heard.received} frames: 0 lost, 0 doubled; answer p50 ${ms(p.p50)}, p99 ${ms(p.p99)}`);
    await voice.close();
  });

  test(`${way}: ${IDENTITIES} swaps between two identities in one room`, async (t) => {
    const voice = await speaker(`overlap-${way}`, way), { user } = voice;
    await user.mustJoin({ identity: 'bridge-0' });
    voice.listen();
    await voice.ready();
    voice.speak();
    await until('audio', () => voice.bytes() > 16000);
    for (let i = 1; i <= IDENTITIES; i++) {
      await voice.rejoin({ identity: `bridge-${i % 2}` });
      await sleep(Math.random() * 300);
    }
    await voice.stop();
    await settled(user, IDENTITIES);
    const heard = await wholeVoice(voice);
    account(await swapsOf(user.id), 'overlap');
    await until('one participant of ours', async () =>
      (await rooms().listParticipants(user.room)).filter((p) => p.identity !== user.id).length === 1);
    const p = percentiles(voice.answers);
    t.diagnostic(`${IDENTITIES} swaps, ${heard.received} frames: 0 lost, 0 doubled; answer p50 ${ms(p.p50)}, p99 ${ms(p.p99)}`);
    await voice.close();
  });
}

test(`${USERS} users at once, ${EACH} resumes each at random times`, async (t) => {
  const voices = [], others = lightPhones();
  let frames = 0;
  for (let i = 0; i < USERS; i++) voices.push(await speaker('crowd', WAYS[i % WAYS.length], others));
  await Promise.all(voices.map((voice) => voice.user.mustJoin()));
  voices.forEach((voice) => voice.listen());
  await Promise.all(voices.map((voice) => voice.ready()));
  voices.forEach((voice) => voice.speak());
  await until('audio of everybody', () => voices.every((voice) => voice.bytes() > 16000), 60000);
  await Promise.all(voices.map(async (voice) => {
    for (let i = 0; i < EACH; i++) {
      await sleep(Math.random() * 1500);
      await voice.rejoin();
    }
  }));
  await Promise.all(voices.map((voice) => voice.stop()));
  for (const voice of voices) {
    await settled(voice.user, Math.min(EACH, Math.floor(KEPT / USERS / 2)));
    frames += Math.floor((await wholeVoice(voice)).received);
    account(await swapsOf(voice.user.id), 'resume');
  }
  assert.equal((await status()).totals.active_sessions, USERS);
  const p = percentiles(voices.flatMap((voice) => voice.answers));
  t.diagnostic(`${USERS * EACH} resumes, ${frames} frames: 0 lost, 0 doubled; answer p50 ${ms(p.p50)}, p99 ${ms(p.p99)}`);
  await Promise.all(voices.map((voice) => voice.close()));
  others.close();
});

test('leave and join within the grace is a resume', async () => {
  for (const way of ['track', 'data']) {
    const voice = await speaker(`grace-${way}`, way), { user } = voice;
    await user.mustJoin();
    voice.listen();
    await voice.ready();
    voice.speak();
    await until('audio', () => voice.bytes() > 16000);
    for (let i = 0; i < 5; i++) {
      assert.equal((await user.leave()).success, true);
      assert.equal((await voice.streams.at(-1).ended).code, 0);
      const { state, connected } = await session(user.id);
      assert.deepEqual([state, connected], ['grace', false]);
      await voice.rejoin();
      await sleep(200);
    }
    await voice.stop();
    await settled(user, 5);
    await wholeVoice(voice);
    account(await swapsOf(user.id), 'resume');
    await voice.close();
  }
});

test('leave and a join that fails: the grace begins anew, then the participant is gone', async () => {
  const user = newUser('graceless');
  await user.mustJoin();
  assert.equal((await user.leave()).success, true);
  const answer = await user.join({ jwt: await token(`cloud-agent:${user.id}`, user.room, { keySecret: 'another-secret-of-32-characters-long!' }) });
  assert.equal(answer.success, false);
  await until('nobody in the room', async () => (await rooms().listParticipants(user.room)).length === 0);
  assert.equal((await user.cloud.getStatus(user.id)).connected, false);
  user.close();
});

// Another publication: nothing to align by. What arrived before the swap is used, and gap and overlap are as reported.
async function elsewhere(t, way, secondUrl, secondRoom) {
  const voice = await speaker(`else-${way}`, way), { user } = voice;
  const room = secondRoom(user), second = await new Phone(user.id).join(secondUrl, await token(user.id, room));
  if (way === 'track') await second.publish();
  await user.mustJoin();
  voice.listen();
  await voice.ready();
  voice.speak();
  second.dataFrame = 100000;
  const more = {}, speech = way === 'track' ? second.speakTrack(toneSamples(48000), more) : second.speakData(Infinity, more);
  await until('audio', () => voice.bytes() > 16000);
  for (let i = 1; i <= ROOMS; i++) {
    await voice.rejoin(i % 2 ? { at: secondUrl, room } : {});
    await sleep(300);
  }
  await voice.stop();
  more.stop = true;
  await speech;
  await settled(user, ROOMS);
  const swaps = await swapsOf(user.id);
  for (const swap of swaps) {
    assert.equal(swap.kind, 'arrival');
    assert.deepEqual([swap.frames_lost, swap.frames_doubled], [0, 0], JSON.stringify(swap));
  }
  const { source } = await session(user.id);
  assert.equal(source.lost + source.data_lost + source.late + source.data_late, 0, JSON.stringify(source));
  t.diagnostic(`${way}: gaps ${swaps.map((swap) => Math.round(swap.gap_us / 1000))} ms, overlaps ${swaps.map((swap) => Math.round(swap.overlap_us / 1000))} ms`);
  await second.leave();
  await voice.close();
}

test(`${ROOMS} swaps between two rooms, the phone in both`, async (t) => {
  for (const way of ['track', 'data']) await elsewhere(t, way, process.env.LIVEKIT_URL, (user) => `${user.room}-2`);
});

test(`${ROOMS} swaps between two servers, the phone at both`, async (t) => {
  const server = await secondServer();
  for (const way of ['track', 'data']) await elsewhere(t, way, server.url, (user) => user.room);
  await server.stop();
});

test(`${MUTES} swaps between two identities with mutes and silence in between`, async (t) => {
  const voice = await speaker('mutes', 'track'), { user, phone } = voice;
  await user.mustJoin({ identity: 'a' });
  voice.listen();
  // Speech, then silence that the encoder does not send.
  function* talk() {
    const tone = toneSamples(48000);
    for (let i = 0; ; i++) yield Math.floor(i / 48000) % 3 === 2 ? (tone.next(), 0) : tone.next().value;
  }
  voice.speech = phone.speakTrack(talk(), voice.speaking);
  await until('audio', () => voice.bytes() > 16000);
  for (let i = 1; i <= MUTES; i++) {
    const muting = i % 4 === 2 ? phone.setMuted(true) : i % 4 === 3 ? phone.setMuted(false) : null;
    await sleep(Math.random() * 200);
    await voice.rejoin({ identity: i % 2 ? 'b' : 'a' });
    await muting;
    await sleep(Math.random() * 700);
  }
  await voice.stop();
  await settled(user, MUTES);
  account(await swapsOf(user.id), 'overlap');
  const { source } = await session(user.id);
  for (const field of ['lost', 'late', 'concealed', 'decode_errors']) assert.equal(source[field], 0, JSON.stringify(source));
  t.diagnostic(`${MUTES} swaps, ${source.mutes} mutes, ${source.dtx_frames} frames of silence that was not sent: 0 lost, 0 doubled`);
  await voice.close();
});

test('a silent or absent phone never holds up the answer', async (t) => {
  const user = newUser('silent'), answers = [];
  const swap = async (identity) => {
    const began = performance.now();
    await user.mustJoin({ identity });
    answers.push(performance.now() - began);
  };
  await user.mustJoin({ identity: 'a' });
  for (let i = 0; i < 10; i++) await swap(i % 2 ? 'a' : 'b');
  const phone = await user.phone();
  await phone.publish();
  for (let i = 0; i < 10; i++) await swap(i % 2 ? 'a' : 'b');
  const p = percentiles(answers);
  assert.ok(p.max < 3000, `answered after ${p.max} ms`);
  t.diagnostic(`20 swaps without a sound: answer p50 ${ms(p.p50)}, max ${ms(p.max)}`);
  await user.leave();
  await phone.leave();
  user.close();
});

test('a wrong token for the new join while the old leg speaks costs nothing', async () => {
  const voice = await speaker('wrong', 'data'), { user } = voice;
  await user.mustJoin();
  voice.listen();
  await voice.ready();
  voice.speak();
  const bad = { keySecret: 'another-secret-of-32-characters-long!' };
  for (const [identity, room] of [[`cloud-agent:${user.id}`, user.room], ['other', user.room], ['other', `${user.room}-x`]]) {
    const answer = await user.join({ jwt: await token(identity, room, bad), room });
    assert.equal(answer.success, false);
    assert.match(answer.error, /401/);
    assert.equal((await user.cloud.getStatus(user.id)).connected, true);
  }
  await sleep(300);
  await voice.stop();
  assert.equal(voice.streams[0].status, undefined, 'the stream goes on');
  await wholeVoice(voice);
  assert.deepEqual((await swapsOf(user.id)).map((swap) => swap.result), ['failed', 'failed', 'failed']);
  await voice.close();
});
