// captions_ogg.test.mjs - the track's Opus packets, as they came, in Ogg: captions as by PCM, and nothing wrong with the Ogg.
// testbed: --relay-yaml tests/e2e/lib/soniox-ogg.yaml
import { test, before, after } from 'node:test';
import { assert, newUser, nothingLeft, samplesOf, session, sleep, toneLoop, until } from './lib/world.mjs';
import { upsample3 } from '../peers/node/lib/wav.mjs';
import { captionState, speech, startStandin, transcribe, watchCaptions } from './lib/captions.mjs';

const RING_MS = 2000; // soniox-ogg.yaml
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
  return { state, seen, text: watch.text(), interims: watch.interims, spoken_ms: pcm.length / 16 };
}

test('real speech by Opus packets', async () => {
  const { state, seen, text, interims, spoken_ms } = await speakAndWatch('ogg');
  console.log(`heard: ${text}`);
  assert.ok(heardOf(text, byPcm) > 0.75, text);
  assert.ok(interims > 10);
  assert.equal(state.connections, 1);
  assert.equal(state.lost_ms + state.uncertain_ms, 0);
  assert.ok(seen.source.undecoded > 200 && !seen.source.decoding, 'nobody wanted PCM');
  assert.ok(Math.abs(state.sent_ms - spoken_ms) <= 500, `${state.sent_ms} ms of packets, ${spoken_ms} ms spoken`);
  const log = JSON.stringify(standin.log());
  assert.match(log, /ogg/);
  for (const [, name, count] of log.matchAll(/"(\w*(?:errors|damaged\w*|holes))":(\d+)/g)) assert.equal(Number(count), 0, name);
});

// The connection of the stand-in that ended last.
const lastConnection = () => standin.log().connections.at(-1);

test('the same packets by both ways: the same samples, the same words', async () => {
  // One user's packets go to Soniox as they came, and relayd decodes them for the cloud.
  const user = newUser('both'), phone = await user.phone();
  await user.mustJoin();
  await transcribe(user.id);
  const stream = user.stream(), watch = watchCaptions(user.id);
  await until('somebody to want PCM', async () => (await session(user.id)).source.decoding);
  // Both ways begin with the first packet there is. Without DTX: what a phone leaves out is silence in the cloud's PCM, but in Ogg
  // it is the decoder's to fill.
  await phone.publish({ dtx: false });
  const quiet = new Int16Array(16000 * 2), pcm = new Int16Array(quiet.length + voice.pcm.length);
  pcm.set(voice.pcm, quiet.length);
  await phone.speakTrack(upsample3(pcm));
  await sleep(500);
  const { source } = await session(user.id);
  assert.equal(source.undecoded + source.lost + source.concealed + source.dtx_frames, 0, 'each packet came and was decoded');
  await user.leave();
  assert.equal((await watch.ended).code, 0);
  await phone.leave();
  user.close();
  const byOgg = lastConnection(), oggUnits = standin.units(byOgg.id);
  assert.equal(byOgg.start.audio_format, 'ogg');

  // What the cloud got is spoken again as data packets, which arrive sample for sample and go to Soniox as PCM.
  const heard = samplesOf(stream);
  const again = newUser('again'), speaker = await again.phone();
  await again.mustJoin();
  await transcribe(again.id);
  const watchAgain = watchCaptions(again.id);
  await until('the data channel', async () => (await session(again.id)).transport.data_open);
  await speaker.speakDataPcm(heard);
  await until('all audio to be sent', async () => (await captionState(again.id)).sent_ms >= heard.length / 16, 30000);
  await again.leave();
  assert.equal((await watchAgain.ended).code, 0);
  await speaker.leave();
  again.close();
  const byPcmWay = lastConnection(), pcmUnits = standin.units(byPcmWay.id);
  assert.equal(byPcmWay.start.audio_format, 'pcm_s16le');
  console.log(`heard by both: ${byOgg.sent.final_text}`);
  assert.ok(oggUnits.filter((unit) => unit.startsWith('h')).length > voice.ms / 20 / 3, 'there was speech');
  assert.deepEqual(oggUnits.slice(0, pcmUnits.length), pcmUnits); // each loud cell by its hash
  assert.ok(oggUnits.slice(pcmUnits.length).every((unit) => unit === 'q'), 'what the cloud did not wait for is quiet');
  assert.ok(byOgg.sent.final_text.split(' ').length > 20);
  assert.equal(byOgg.sent.final_text, byPcmWay.sent.final_text);
  const words = (finals) => finals.map(({ text, start_ms, end_ms }) => [text, start_ms, end_ms]);
  assert.deepEqual(words(watch.finals), words(watchAgain.finals));
});

test('a reset between sentences', async () => {
  standin.fault({ fault: 'reset', at: { audio_ms: Math.round(2000 + voice.ends[0] + 800) } });
  const { state, text } = await speakAndWatch('oggreset');
  console.log(`heard: ${text}`);
  assert.ok(heardOf(text, byPcm) > 0.75, text);
  assert.equal(state.reconnects, 1);
  assert.equal(state.lost_ms + state.uncertain_ms, 0);
});

test('who wants PCM gets it from then on', async () => {
  const user = newUser('wanted'), phone = await user.phone(), speaking = {};
  await phone.publish();
  await user.mustJoin();
  await transcribe(user.id);
  const speech = phone.speakTrack(toneLoop(), speaking, { loop: true });
  const source = async () => (await session(user.id)).source;
  await until('nobody to want PCM', async () => !(await source()).decoding, 10000);
  // What was decoded last is then older than the ring is long, and nobody's any more.
  await until('a ring of packets to pass', async () => (await source()).undecoded * 20 > RING_MS + 500, 20000);
  const before = await source(), stream = user.stream();
  await until('a second of audio', () => stream.bytes > 32000);
  const now = await source();
  assert.equal(now.decoding, true);
  // The pause is no loss. What the phone left out before it spoke, and before Soniox was there, is none of the pause's.
  for (const counter of ['lost', 'concealed', 'dtx_frames']) assert.equal(now[counter] - before[counter], 0, counter);
  const given = now.frames - before.frames;
  assert.ok(stream.bytes / 640 <= given + 1, `nothing from before: ${stream.bytes / 640} of ${given}`);
  stream.call.cancel();
  await until('nobody to want PCM again', async () => !(await source()).decoding, 10000);
  const { frames: after } = await source();
  await until('packets to pass', async () => (await source()).undecoded > now.undecoded + 50);
  assert.equal((await source()).frames, after);
  const state = await captionState(user.id);
  assert.equal(state.connections, 1);
  assert.equal(state.lost_ms + state.uncertain_ms, 0);
  speaking.stop = true;
  await speech;
  await user.leave();
  await phone.leave();
  user.close();
});
