// captions_ogg.test.mjs - the track's Opus packets, as they came, in Ogg: captions as by PCM, and nothing wrong with the Ogg.
// testbed: --relay-yaml tests/e2e/lib/soniox-ogg.yaml
import { test, before, after } from 'node:test';
import { assert, newUser, nothingLeft, session, sleep, until } from './lib/world.mjs';
import { upsample3 } from '../peers/node/lib/wav.mjs';
import { captionState, speech, startStandin, transcribe, watchCaptions } from './lib/captions.mjs';

let standin;
before(async () => { standin = await startStandin('sphinx'); });
after(async () => { standin?.stop(); await nothingLeft(); });

const voice = speech(2);
// What PocketSphinx makes of it by PCM. An encoder does not make the same packets twice, so a few words may differ here.
const byPcm = 'and mr john guess what and then at leisure to consider how much there might be greatly in his power to do for them ' +
  'he was not an illness those young man';

// Share of the expected words that were heard, in order.
function heardOf(text, expected) {
  const a = expected.split(' '), b = text.split(' ');
  let row = new Array(b.length + 1).fill(0);
  for (const word of a) {
    const next = [0];
    b.forEach((other, j) => next.push(word === other ? row[j] + 1 : Math.max(row[j + 1], next[j])));
    row = next;
  }
  return row[b.length] / a.length;
}

async function speakAndWatch(label) {
  const user = newUser(label), phone = await user.phone();
  await phone.publish();
  await user.mustJoin();
  await transcribe(user.id);
  const watch = watchCaptions(user.id);
  const quiet = new Int16Array(16000 * 2);
  const pcm = new Int16Array(quiet.length + voice.pcm.length);
  pcm.set(voice.pcm, quiet.length);
  await phone.speakTrack(upsample3(pcm));
  await sleep(500);
  const state = await captionState(user.id), seen = await session(user.id);
  await user.leave();
  assert.equal((await watch.ended).code, 0);
  await phone.leave();
  user.close();
  return { state, seen, text: watch.text(), interims: watch.interims };
}

test('real speech by Opus packets', async () => {
  const { state, seen, text, interims } = await speakAndWatch('ogg');
  console.log(`heard: ${text}`);
  assert.ok(heardOf(text, byPcm) > 0.75, text);
  assert.ok(interims > 10);
  assert.equal(state.connections, 1);
  assert.equal(state.lost_ms + state.uncertain_ms, 0);
  assert.ok(Math.abs(state.sent_ms - seen.source.frames * 20) <= 400, `${state.sent_ms} ms of packets, ${seen.source.frames} cells`);
  const log = JSON.stringify(standin.log());
  assert.match(log, /ogg/);
  for (const [, name, count] of log.matchAll(/"(\w*(?:errors|damaged\w*|holes))":(\d+)/g)) assert.equal(Number(count), 0, name);
});

test('a reset between sentences', async () => {
  standin.fault({ fault: 'reset', at: { audio_ms: Math.round(2000 + voice.ends[0] + 800) } });
  const { state, text } = await speakAndWatch('oggreset');
  console.log(`heard: ${text}`);
  assert.ok(heardOf(text, byPcm) > 0.75, text);
  assert.equal(state.reconnects, 1);
  assert.equal(state.lost_ms + state.uncertain_ms, 0);
});
