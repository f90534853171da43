// audio.test.mjs - the main job on a clean network: everything that was spoken arrives once, in order.
import { test, after } from 'node:test';
import {
  assert, countOrder, heardSteps, newUser, nothingLeft, receivedNumbers, samplesOf, session, sleep, stepsInOrder,
  toneSamples, until,
} from './lib/world.mjs';
import { feedbackTests } from './lib/feedback.mjs';

after(nothingLeft);
feedbackTests('LiveKit 1.13.5');

// No frame of the stream is missing between what the ring held and what came, and what came is in the order spoken.
async function checkTrack(user, stream, seconds) {
  const pcm = samplesOf(stream), steps = heardSteps(pcm), seen = await session(user.id);
  assert.ok(pcm.length >= seconds * 16000 * 0.95, `${pcm.length} samples in ${seconds} s`);
  assert.ok(steps.length >= seconds * 9, `${steps.length} tone steps in ${seconds} s`);
  assert.ok(stepsInOrder(steps), `tone steps in order: ${steps}`);
  for (const field of ['lost', 'concealed', 'late', 'duplicate', 'decode_errors'])
    assert.equal(seen.source[field], 0, `${field} in ${JSON.stringify(seen.source)}`);
  return seen;
}

test('track: the phone speaks before the join', async () => {
  const user = newUser('track'), phone = await user.phone();
  await phone.publish();
  const speaking = {};
  const speech = phone.speakTrack(toneSamples(48000), speaking);
  const answer = await user.mustJoin();
  assert.equal(answer.participant_id, `cloud-agent:${user.id}`);
  assert.equal(answer.participant_count, 2);
  const stream = user.stream();
  await until('6 s of audio', () => stream.bytes >= 6 * 32000);
  await checkTrack(user, stream, 6);
  const chunk = stream.chunks.at(-1);
  assert.equal(chunk.sample_rate, 16000);
  assert.equal(chunk.channels, 1);
  assert.ok(Math.abs(Date.now() - Number(chunk.timestamp_ms)) < 2000, `timestamp ${chunk.timestamp_ms}`);
  speaking.stop = true;
  await speech;
  assert.equal((await user.leave()).success, true);
  assert.equal((await stream.ended).code, 0);
  await phone.leave();
  user.close();
});

test('track: the phone comes after the join', async () => {
  const user = newUser('late');
  const answer = await user.mustJoin();
  assert.equal(answer.participant_count, 1);
  const stream = user.stream(), phone = await user.phone(), speaking = {};
  await sleep(500);
  await phone.publish();
  const speech = phone.speakTrack(toneSamples(48000), speaking);
  await until('4 s of audio', () => stream.bytes >= 4 * 32000);
  await checkTrack(user, stream, 4);
  speaking.stop = true;
  await speech;
  await user.leave();
  await phone.leave();
  user.close();
});

test('data: every frame once and in order, from the first', async () => {
  const user = newUser('data');
  await user.mustJoin();
  const stream = user.stream(), phone = await user.phone();
  await until('both ends of the data channel', async () => (await session(user.id)).transport.data_open);
  await phone.speakData(400);
  await until('400 frames', () => stream.bytes >= 400 * 640);
  const order = countOrder(receivedNumbers(stream));
  assert.deepEqual(order, { received: 400, first: 0, last: 399, lost: 0, doubled: 0, disorder: 0 });
  await user.leave();
  await phone.leave();
  user.close();
});

test('data: a phone that only sends data loses none of its first seconds', async () => {
  const user = newUser('first');
  await user.mustJoin();
  const stream = user.stream(), phone = await user.phone();
  await phone.speakData(150); // at once, before any update can name the phone
  await until('150 frames', () => stream.bytes >= 150 * 640, 10000).catch(() => {});
  const order = countOrder(receivedNumbers(stream));
  assert.equal(order.first, 0);
  assert.deepEqual([order.received, order.lost, order.doubled, order.disorder], [150, 0, 0, 0]);
  await user.leave();
  await phone.leave();
  user.close();
});

test('republish and mute: the voice comes back each time', async () => {
  const user = newUser('republish'), phone = await user.phone();
  await phone.publish();
  const speaking = {};
  let speech = phone.speakTrack(toneSamples(48000), speaking);
  await user.mustJoin();
  const stream = user.stream();
  await until('2 s of audio', () => stream.bytes >= 2 * 32000);
  await phone.setMuted(true);
  await until('relayd to know of the mute', async () => (await session(user.id)).track_muted);
  const frames = (await session(user.id)).source.packets;
  await phone.setMuted(false);
  await until('audio after the mute', async () => (await session(user.id)).source.packets > frames + 100);
  speaking.stop = true;
  await speech;
  await phone.unpublish();
  await until('relayd to see the track go', async () => !(await session(user.id)).track_subscribed);
  const before = stream.bytes, again = {};
  await phone.publish();
  speech = phone.speakTrack(toneSamples(48000), again);
  await until('2 s of audio of the new track', () => stream.bytes >= before + 2 * 32000);
  assert.equal((await session(user.id)).source.concealed, 0);
  again.stop = true;
  await speech;
  await user.leave();
  await phone.leave();
  user.close();
});

test('the phone leaves and returns', async () => {
  const user = newUser('returns');
  let phone = await user.phone();
  await phone.publish();
  const speaking = {};
  let speech = phone.speakTrack(toneSamples(48000), speaking);
  await user.mustJoin();
  const stream = user.stream();
  await until('1 s of audio', () => stream.bytes >= 32000);
  speaking.stop = true;
  await speech;
  await phone.leave();
  await until('relayd to see it leave', async () => !(await session(user.id)).target_present);
  const before = stream.bytes, again = {};
  phone = await user.phone();
  await phone.publish();
  speech = phone.speakTrack(toneSamples(48000), again);
  await until('audio of the returned phone', () => stream.bytes >= before + 2 * 32000);
  again.stop = true;
  await speech;
  await user.leave();
  await phone.leave();
  user.close();
});

test('two users at once never hear each other', async () => {
  const users = [newUser('one'), newUser('two')];
  const phones = await Promise.all(users.map((user) => user.phone()));
  await Promise.all(users.map((user) => user.mustJoin()));
  const streams = users.map((user) => user.stream());
  await Promise.all(users.map((user) => until('data', async () => (await session(user.id)).transport.data_open)));
  phones[1].dataFrame = 100000; // another range of numbers tells the two apart
  await Promise.all(phones.map((phone) => phone.speakData(200)));
  await Promise.all(streams.map((stream) => until('200 frames', () => stream.bytes >= 200 * 640)));
  assert.deepEqual(receivedNumbers(streams[0]), Array.from({ length: 200 }, (_, n) => n));
  assert.deepEqual(receivedNumbers(streams[1]), Array.from({ length: 200 }, (_, n) => 100000 + n));
  await Promise.all(users.map((user) => user.leave()));
  await Promise.all(phones.map((phone) => phone.leave()));
  users.forEach((user) => user.close());
});
