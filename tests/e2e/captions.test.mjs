// captions.test.mjs - a phone speaks, Soniox' stand-in hears, captions come: the same words whatever breaks in between.
// testbed: --relay-yaml tests/e2e/lib/soniox.yaml
import { test, before, after } from 'node:test';
import { execFileSync } from 'node:child_process';
import { assert, newUser, nothingLeft, session, sleep, until } from './lib/world.mjs';
import { captionState, speech, startStandin, transcribe, transcripts, watchCaptions } from './lib/captions.mjs';

let standin, undisturbed;
before(async () => { standin = await startStandin('sphinx'); });
after(async () => { standin?.stop(); await nothingLeft(); });

const voice = speech(3);

// Speaks the sentences by data packets, which arrive sample for sample; disturb(ms) is called as time goes on.
async function speakAndWatch(label, disturb = async () => {}) {
  const user = newUser(label), phone = await user.phone();
  phone.room.registerTextStreamHandler('lk.transcription', async (reader) => { await reader.readAll(); });
  await user.mustJoin();
  await transcribe(user.id);
  const watch = watchCaptions(user.id);
  await until('the data channel', async () => (await session(user.id)).transport.data_open);
  const began = Date.now(), disturbed = disturb({ user, phone, watch, at: async (ms) => sleep(Math.max(0, began + ms - Date.now())) });
  await phone.speakDataPcm(voice.pcm);
  await disturbed;
  await until('all audio to be sent', async () => (await captionState(user.id)).sent_ms >= voice.ms, 30000);
  const state = await captionState(user.id);
  await user.leave();
  const ended = await watch.ended;
  assert.equal(ended.code, 0);
  await phone.leave();
  user.close();
  return { watch, state, text: watch.text() };
}

test('undisturbed: captions of real speech, as they are said', async () => {
  const { watch, state, text } = await speakAndWatch('plain');
  undisturbed = text;
  console.log(`heard: ${text}`);
  assert.ok(text.split(' ').length > 20, text);
  assert.match(text, /leisure to consider how much/);
  assert.ok(watch.interims > 20, `${watch.interims} interims`);
  assert.deepEqual(watch.finals.map((s) => s.seq), watch.finals.map((_, i) => i + 1));
  assert.equal(state.lost_ms + state.uncertain_ms + state.replayed_ms + state.reconnects, 0);
  assert.equal(state.connections, 1);
});

const faults = {
  'a reset in the first pause': { fault: 'reset' },
  'a 503 in the first pause': { fault: 'error', code: 503 },
  'a 408 in the first pause': { fault: 'error', code: 408 },
  'a stall without close': { fault: 'stall' },
};
for (const [name, fault] of Object.entries(faults))
  test(`${name}: not a word more or less`, async () => {
    standin.fault({ ...fault, at: { audio_ms: Math.round(voice.ends[0] + 900) } });
    const { state, text } = await speakAndWatch('fault');
    assert.equal(text, undisturbed);
    assert.ok(state.reconnects >= 1, JSON.stringify(state));
    assert.equal(state.lost_ms, 0);
    standin.reset();
  });

test('a swap of the session: the stream to Soniox goes on', async () => {
  const { state, text } = await speakAndWatch('swap', async ({ user, at }) => {
    await at(voice.ends[0] + 300);
    await user.mustJoin();
  });
  assert.equal(state.connections, 1); // the stream is the slot's
  assert.equal(text, undisturbed);
});

test('captions in the room, and in the operator\'s terminal', async () => {
  const user = newUser('room'), phone = await user.phone(), seen = [];
  phone.room.registerTextStreamHandler('lk.transcription', async (reader, { identity }) => {
    const text = await reader.readAll();
    seen.push({ text, identity, ...reader.info.attributes });
  });
  await user.mustJoin();
  await transcribe(user.id);
  const watch = watchCaptions(user.id);
  await until('the data channel', async () => (await session(user.id)).transport.data_open);
  await phone.speakDataPcm(voice.pcm.subarray(0, voice.ends[0] * 16 + 16000));
  await until('the sentence', () => watch.finals.length > 0, 15000);
  await until('it to be in the room', () => seen.some((s) => s['lk.transcription_final'] === 'true'), 5000);
  const final = seen.find((s) => s['lk.transcription_final'] === 'true');
  assert.equal(final.text, watch.finals[0].text);
  assert.equal(final.identity, `cloud-agent:${user.id}`);
  assert.ok(seen.some((s) => s['lk.transcription_final'] === 'false' && s['lk.segment_id'] === final['lk.segment_id']));
  const shown = execFileSync(process.env.RELAYCTL, ['--socket', process.env.RELAYCTL_SOCKET, 'session', user.id], { encoding: 'utf8' });
  assert.match(shown, /captions +live and (healthy|starved)/);
  assert.match(shown, /words +\d+ in 1 segments/);
  // A caller who breaks off goes on where it was.
  watch.call.cancel();
  const again = watchCaptions(user.id, 1, watch.epoch);
  await until('the kept segment', () => again.finals.length === 1, 5000);
  assert.equal(again.complete, true);
  assert.equal((await transcripts('Transcribe', { user_id: user.id, off: true })).exists, true);
  assert.equal((await again.ended).code, 0);
  await user.leave();
  await phone.leave();
  user.close();
});
