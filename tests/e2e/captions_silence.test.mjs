// captions_silence.test.mjs - nobody speaks: a muted phone, one without a track, one that says nothing for a minute, one that leaves.
// testbed: --relay-yaml tests/e2e/lib/soniox-faults.yaml
//
// What is true is said (the health of the stream and its sentence), and what is paid for is little: no connection before there is
// audio, and one keepalive in eight seconds while there is none, never while there is some.
import { test, before, after } from 'node:test';
import { assert, newUser, nothingLeft, session, toneLoop, until } from './lib/world.mjs';
import { captionState, connectionsOf as ofAll, numberedPcm as pcmOf, startStandin, transcribe, watchCaptions, wordsOf as words } from './lib/captions.mjs';

const MINUTE_MS = 60000, CELLS = 100;
let standin;
before(async () => { standin = await startStandin('scripted'); });
after(async () => { standin?.stop(); await nothingLeft(); });

const connectionsOf = (first) => ofAll(standin, first);

async function transcribed(label) {
  const user = newUser(label), phone = await user.phone();
  await user.mustJoin();
  await transcribe(user.id);
  return { user, phone, watch: watchCaptions(user.id) };
}

async function over({ user, phone, watch }) {
  await user.leave();
  assert.equal((await watch.ended).code, 0);
  await phone.leave();
  user.close();
}

const healthIs = (id, health, limit_ms) => until(`health ${health}`, async () => (await captionState(id)).health === health, limit_ms);

// All at the same time: it is the same minute.
test('a minute of silence, muted, no track at all, gone', { concurrency: 4 }, async (t) => {
  await Promise.all([
    t.test('a minute between two sentences', async () => {
      const one = await transcribed('minute'), { user, phone, watch } = one;
      await until('the data channel', async () => (await session(user.id)).transport.data_open);
      await phone.speakDataPcm(pcmOf(1000, 1000 + CELLS - 1));
      await until('it to be final', () => watch.text() === words(1000, 1000 + CELLS - 1), 15000);
      await healthIs(user.id, 'starved', 10000);
      const began = Date.now();
      await until('a minute to pass', () => Date.now() - began > MINUTE_MS, MINUTE_MS + 20000);
      const quiet = await captionState(user.id), [connection] = connectionsOf(1000);
      assert.equal(quiet.state, 'live');
      assert.equal(quiet.health, 'starved');
      assert.match(quiet.sentence, /no audio comes from the user/);
      assert.ok(connection.received.keepalives >= 6 && connection.received.keepalives <= 9, `${connection.received.keepalives} keepalives`);
      assert.equal(connection.received.finalizes, 1);
      await phone.speakDataPcm(pcmOf(1000 + CELLS, 1000 + 2 * CELLS - 1));
      await until('the rest', async () => (await captionState(user.id)).sent_ms >= 2 * CELLS * 20);
      assert.equal((await captionState(user.id)).health, 'healthy');
      await over(one);
      assert.equal(watch.text(), words(1000, 1000 + 2 * CELLS - 1));
      assert.equal(connectionsOf(1000).length, 1);
    }),
    t.test('no track at all', async () => {
      const one = await transcribed('notrack'), opened = standin.log().opened, began = Date.now();
      await until('ten seconds to pass', () => Date.now() - began > 10000, 20000);
      const state = await captionState(one.user.id);
      assert.equal(state.state, 'idle');
      assert.match(state.sentence, /no connection is open and none is paid for/);
      assert.equal(state.connections, 0);
      assert.ok(standin.log().opened - opened <= 3, 'those of the others');
      await over(one);
    }),
    t.test('muted, and back', async () => {
      const one = await transcribed('muted'), { user, phone } = one, speaking = {};
      await phone.publish();
      const speech = phone.speakTrack(toneLoop(), speaking, { loop: true });
      await healthIs(user.id, 'healthy', 20000);
      await phone.setMuted(true);
      await healthIs(user.id, 'starved', 20000);
      const { sent_ms } = await captionState(user.id);
      await phone.setMuted(false);
      await healthIs(user.id, 'healthy', 20000);
      await until('audio to go on', async () => (await captionState(user.id)).sent_ms > sent_ms + 1000);
      const state = await captionState(user.id);
      assert.equal(state.connections, 1);
      assert.equal(state.lost_ms + state.uncertain_ms, 0);
      speaking.stop = true;
      await speech;
      await over(one);
    }),
    t.test('a phone that leaves, and another that comes', async () => {
      const one = await transcribed('leaves'), { user, phone, watch } = one;
      await until('the data channel', async () => (await session(user.id)).transport.data_open);
      await phone.speakDataPcm(pcmOf(3000, 3000 + CELLS - 1));
      await phone.leave();
      await until('what was said to be final', () => watch.text() === words(3000, 3000 + CELLS - 1), 15000);
      await healthIs(user.id, 'starved', 10000);
      one.phone = await user.phone();
      await until('the data channel', async () => (await session(user.id)).transport.data_open);
      await one.phone.speakDataPcm(pcmOf(3000 + CELLS, 3000 + 2 * CELLS - 1));
      await until('it to be final', () => watch.text() === words(3000, 3000 + 2 * CELLS - 1), 20000);
      const state = await captionState(user.id);
      assert.equal(state.connections, 1);
      assert.equal(state.lost_ms + state.uncertain_ms, 0);
      await over(one);
    }),
  ]);
});

test('Soniox says nothing any more: stalled, and then another connection', async () => {
  const one = await transcribed('stalled'), { user, phone, watch } = one;
  await until('the data channel', async () => (await session(user.id)).transport.data_open);
  const speech = phone.speakDataPcm(pcmOf(5000, 5000 + 4 * CELLS - 1));
  await until('a connection', async () => (await captionState(user.id)).sent_ms > 500);
  standin.fault({ fault: 'mute', connection: connectionsOf(5000)[0].id });
  await until('another connection', async () => (await captionState(user.id)).connections === 2, 15000);
  const state = await captionState(user.id);
  assert.match(state.last_error, /audio is not answered/);
  await speech;
  await until('all of it', async () => (await captionState(user.id)).sent_ms >= 4 * CELLS * 20);
  await over(one);
  assert.equal(watch.text(), words(5000, 5000 + 4 * CELLS - 1));
});
