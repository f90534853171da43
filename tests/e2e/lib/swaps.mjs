// swaps.mjs - what tests of always-replace share: a cloud that listens over many streams, and what it has heard in all of them.
import {
  assert, ask, countOrder, heardSteps, newUser, receivedNumbers, session, sleep, stepsInOrder, toneLoop, until,
} from './world.mjs';

export const swapsOf = async (user_id) => (await ask('ListSwaps', { user_id })).swaps;

// A user with a phone that speaks; all streams ever opened, one after the other, as production's client does it.
// The phone is this process's own, or one of others (phones.mjs).
export async function speaker(label, way, others) {
  const user = newUser(label), phone = others ? await others.phone(user.id) : await user.phone();
  const voice = { user, phone, way, streams: [], speaking: {}, answers: [] };
  if (way === 'track') await phone.publish();
  voice.speak = () => {
    voice.speech = way === 'track' ? phone.speakTrack(toneLoop(), voice.speaking, { loop: true }) : phone.speakData(Infinity, voice.speaking);
  };
  voice.listen = () => {
    const stream = user.stream();
    stream.ended.then((status) => { stream.status = status; });
    voice.streams.push(stream);
    return stream;
  };
  voice.bytes = () => voice.streams.reduce((sum, stream) => sum + stream.bytes, 0);
  // One JoinRoom and the stream that follows it; how long the answer took.
  voice.rejoin = async (options) => {
    const began = performance.now(), answer = await user.join(options);
    voice.answers.push(performance.now() - began);
    assert.equal(answer.error, '');
    assert.equal(answer.success, true);
    voice.listen();
    return answer;
  };
  voice.ready = async () => {
    if (way === 'data') await until('the data channel', async () => (await session(user.id)).transport.data_open);
  };
  voice.stop = async () => {
    voice.speaking.stop = true;
    await voice.speech;
  };
  voice.close = async () => {
    await user.leave();
    await phone.leave();
    user.close();
  };
  return voice;
}

// Everything that was spoken has been heard once and in order, over all streams together.
export async function wholeVoice(voice, { spoken = voice.phone.dataFrame, from = 0 } = {}) {
  const { user, way } = voice;
  const all = { chunks: voice.streams.flatMap((stream) => stream.chunks) };
  const seen = await session(user.id);
  if (way === 'data') {
    await until('every frame', () => voice.bytes() >= (spoken - from) * 640, 10000).catch(() => {});
    const order = countOrder(receivedNumbers({ chunks: voice.streams.flatMap((stream) => stream.chunks) }));
    assert.deepEqual(order, { received: spoken - from, first: from, last: spoken - 1, lost: 0, doubled: 0, disorder: 0 });
    assert.equal(seen.source.data_lost, 0);
    assert.equal(seen.source.data_resets, 0);
    return order;
  }
  // What the ring held, to the frame, and a voice without a break in it.
  const bytes = all.chunks.reduce((sum, chunk) => sum + chunk.pcm_data.length, 0);
  for (const field of ['lost', 'concealed', 'late', 'duplicate', 'decode_errors'])
    assert.equal(seen.source[field], 0, `${field} in ${JSON.stringify(seen.source)}`);
  // The ring may still grow by the sender's signs of life: what was heard catches up with it, and never passes it.
  const behind = async () => (await session(user.id)).stream.ring_head - voice.bytes() / 640;
  await until('every frame of the ring', async () => Math.abs(await behind()) <= 1, 10000)
    .catch(async (error) => { throw new Error(`${error.message}: ${await behind()} behind`); });
  const pcm = Buffer.concat(voice.streams.flatMap((stream) => stream.chunks.map((chunk) => chunk.pcm_data)));
  const samples = new Int16Array(pcm.buffer.slice(pcm.byteOffset, pcm.byteOffset + (pcm.length & ~1)));
  const steps = heardSteps(samples);
  assert.ok(stepsInOrder(steps), `tone steps in order: ${steps}`);
  return { received: bytes / 640, lost: seen.source.lost, doubled: 0 };
}

export function percentiles(values) {
  const sorted = [...values].sort((a, b) => a - b), at = (p) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))];
  return { p50: at(0.5), p99: at(0.99), max: sorted.at(-1) };
}

export const ms = (value) => `${value.toFixed(1)} ms`;
export { sleep };
