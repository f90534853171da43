// captions_faults.test.mjs - Soniox breaks, at any moment and in mid word: every 20 ms of speech becomes one word, once and in order.
// testbed: --relay-yaml tests/e2e/lib/soniox-faults.yaml
// errors: "message":"Soniox connection lost"
//
// The scripted recogniser hears one word per numbered cell, so that a lost or doubled cell is a lost or doubled word. WORDS_MOMENTS
// is how often each fault happens (1; the long form 20), WORDS_SEED where the moments begin: another one each day.
import { test, before, after } from 'node:test';
import { execFileSync } from 'node:child_process';
import { assert, newUser, nothingLeft, rss, session, until } from './lib/world.mjs';
import { captionState, connectionsOf as ofAll, numberedPcm as pcmOf, startStandin, transcribe, watchCaptions, wordsOf as words } from './lib/captions.mjs';

const MOMENTS = Number(process.env.WORDS_MOMENTS ?? 1), AT_ONCE = 6, CELLS = 250;
let seed = Number(process.env.WORDS_SEED ?? Math.floor(Date.now() / 86400000));
const random = () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
};

let standin;
before(async () => { standin = await startStandin('scripted'); });
after(async () => { standin?.stop(); await nothingLeft(); });

let next = 0;
const connectionsOf = (first) => ofAll(standin, first);
const livingOf = (first) => connectionsOf(first).findLast((connection) => !connection.ended);

async function transcribed(label) {
  const user = newUser(label), phone = await user.phone();
  await user.mustJoin();
  await transcribe(user.id);
  const watch = watchCaptions(user.id);
  await until('the data channel', async () => (await session(user.id)).transport.data_open);
  return { user, phone, watch, first: 1000 * next++ };
}

async function over({ user, phone, watch }) {
  await user.leave();
  assert.equal((await watch.ended).code, 0);
  await phone.leave();
  user.close();
}

// Speaks CELLS words; disturb happens when so much of it has been sent.
async function speak(label, at_ms, disturb) {
  const one = await transcribed(label), { user, phone, watch, first } = one;
  const speech = phone.speakDataPcm(pcmOf(first, first + CELLS - 1));
  await until('so much to be sent', async () => (await captionState(user.id)).sent_ms >= at_ms);
  await disturb?.(user, await until('its connection', () => livingOf(first)));
  await speech;
  await until('all of it to be sent', async () => (await captionState(user.id)).sent_ms >= CELLS * 20, 30000);
  const state = await captionState(user.id);
  await over(one);
  return { first, state, text: watch.text(), seen: connectionsOf(first) };
}

// Every cell was received, and none twice but what a lost connection had received and not made final. (What relayd sent again before
// the end counts as well: a final may be on its way when a connection is reset.)
function accounted({ first, state, seen, text }, what) {
  assert.equal(text, words(first, first + CELLS - 1), what);
  assert.equal(state.lost_ms, 0, what);
  const times = new Array(CELLS).fill(0);
  for (const { received } of seen) {
    assert.equal(received.damaged_cells + received.other_samples, 0, what);
    for (const [from, to] of received.numbers) for (let n = from; n <= to; n++) times[n - first]++;
  }
  assert.ok(times.every((count) => count >= 1), `${what}: cells ${times.map((count, n) => (count === 0 ? n : '')).filter(String)} never came`);
  const again = times.reduce((sum, count) => sum + count - 1, 0) * 20;
  const open = seen.slice(0, -1).reduce((sum, { received, sent }) => sum + received.audio_ms - sent.final_audio_proc_ms, 0);
  assert.ok(again <= Math.max(open, state.replayed_ms), `${what}: ${again} ms came again, ${open} were open, ${state.replayed_ms} sent again`);
}

const faults = {
  reset: { fault: 'reset' }, drop: { fault: 'drop' }, close: { fault: 'close' }, stall: { fault: 'stall' }, mute: { fault: 'mute' },
  slow_read: { fault: 'slow_read', bytes_per_s: 4000 }, late: { fault: 'late', ms: 1500 }, duplicate: { fault: 'duplicate' },
  'error 408': { fault: 'error', code: 408 }, 'error 413': { fault: 'error', code: 413 }, 'error 429': { fault: 'error', code: 429 },
  'error 503': { fault: 'error', code: 503 }, no_finished: { fault: 'no_finished' },
  garbage: { fault: 'garbage' }, 'a message of 10 MB': { fault: 'big' }, 'deep JSON': { fault: 'deep' }, 'no UTF-8': { fault: 'utf8' },
  masked: { fault: 'masked' }, 'half a message': { fault: 'cut' },
};

test('each fault in mid word: not a word more or less', async (t) => {
  const cases = Object.entries(faults).flatMap((fault) => Array.from({ length: MOMENTS }, () => [...fault, 500 + Math.floor(random() * 3800)]));
  const before = rss();
  for (let i = 0; i < cases.length; i += AT_ONCE) {
    await Promise.all(cases.slice(i, i + AT_ONCE).map(async ([name, fault, at_ms]) => {
      const what = `${name} at ${at_ms} ms`;
      accounted(await speak('fault', at_ms, (user, { id }) => standin.fault({ ...fault, connection: id })), what);
    }));
  }
  const grown = rss() - before;
  assert.ok(grown < 64 * 1024, `${grown} KB more`);
  t.diagnostic(`${cases.length} faults of ${Object.keys(faults).length} kinds, ${cases.length * CELLS} words: 0 lost, 0 doubled`);
});

test('the swap of the session in the middle of a cut', async () => {
  for (const identity of [undefined, 'other']) {
    accounted(await speak('both', 1000 + random() * 2000, async (user, { id }) => {
      const swap = user.mustJoin(identity && { identity });
      standin.fault({ fault: 'reset', connection: id });
      await swap;
    }), `swap to ${identity}`);
  }
});

test('refused for good: said, alarmed, and again from then on when somebody has seen to it', async () => {
  for (const [code, words_] of [[401, /key/i], [402, /balance|budget|funds/i]]) {
    const one = await transcribed('refused'), { user, phone, first } = one;
    const speech = phone.speakDataPcm(pcmOf(first, first + 99));
    await until('a connection', async () => (await captionState(user.id)).sent_ms > 300);
    standin.fault({ fault: 'error', code, connection: livingOf(first).id });
    await until('it to be refused', async () => (await captionState(user.id)).state === 'stopped');
    await speech;
    const state = await captionState(user.id);
    assert.match(state.sentence, /refused for good/);
    assert.match(state.last_error, words_);
    assert.equal(connectionsOf(first).length, 1, 'it is not tried again');
    const shown = execFileSync(process.env.RELAYCTL, ['--socket', process.env.RELAYCTL_SOCKET, 'session', user.id], { encoding: 'utf8' });
    assert.match(shown, /captions +stopped/);
    await over(one);
  }
});

test('nine of ten places are taken, who comes next waits visibly and gets the next free one', async () => {
  const many = [];
  for (let i = 0; i < 11; i++) many.push(await transcribed('many'));
  const speeches = many.map(async ({ phone, first }) => {
    for (let round = 0; round < 3; round++) await phone.speakDataPcm(pcmOf(first + round * 50, first + round * 50 + 49));
  });
  const states = async () => Promise.all(many.map(({ user }) => captionState(user.id)));
  await until('nine to be live, two to wait', async () => {
    const all = await states();
    return all.filter(({ state }) => state === 'live').length === 9 && all.filter(({ state }) => state === 'queued').length === 2;
  });
  const all = await states(), waits = many.filter((_, i) => all[i].state === 'queued');
  assert.deepEqual(all.filter(({ state }) => state === 'queued').map(({ queue_position }) => queue_position).sort(), [1, 2]);
  const shown = execFileSync(process.env.RELAYCTL, ['--socket', process.env.RELAYCTL_SOCKET, 'session', waits[0].user.id], { encoding: 'utf8' });
  assert.match(shown, /captions +queued, number [12] in the line/);
  await Promise.all(speeches);
  for (const one of many.filter((each) => !waits.includes(each))) {
    await over(one);
    assert.equal(one.watch.text(), words(one.first, one.first + 149));
  }
  for (const one of waits) { // what they said meanwhile was kept
    await until('all of it to be sent', async () => (await captionState(one.user.id)).sent_ms >= 3000, 30000);
    assert.equal((await captionState(one.user.id)).lost_ms, 0);
    await over(one);
    assert.equal(one.watch.text(), words(one.first, one.first + 149));
  }
  const ours = many.flatMap(({ first }) => connectionsOf(first));
  assert.deepEqual(ours.filter(({ sent }) => sent.error_code === 429), [], 'no limit was hit');
});
