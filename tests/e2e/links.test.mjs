// links.test.mjs - the runbook's fourth question: `relayctl session USER` names the broken link from JoinRoom to words, and since when.
// testbed: --relay-yaml tests/e2e/lib/soniox.yaml
// errors: "error":"401 
import { test, before, after } from 'node:test';
import { execFileSync } from 'node:child_process';
import { assert, newUser, nothingLeft, session, sleep, until } from './lib/world.mjs';
import { captionState, speech, startStandin, transcribe, transcripts } from './lib/captions.mjs';

let standin, user, phone, stream;
const voice = speech(3);
const relayctl = (...words) => execFileSync(process.env.RELAYCTL, ['--socket', process.env.RELAYCTL_SOCKET, ...words], { encoding: 'utf8' });

// The links by name, as programs see them.
const links = () => Object.fromEntries(JSON.parse(relayctl('--json', 'session', user.id)).links.map((link) => [link.link, link]));
const states = () => Object.values(links()).map((link) => link.state).join(' ');

// Waits until the one link is broken, checks what is said of it: since when (between two times), and why.
async function broken(name, from, sentence, ms = 20000) {
  await until(`${name} to be broken`, () => links()[name].state === 'BROKEN' && sentence.test(links()[name].sentence), ms).catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(links())}`);
  });
  const all = links(), link = all[name];
  assert.deepEqual(Object.values(all).filter((l) => l.state === 'BROKEN').map((l) => l.link), [name], JSON.stringify(all));
  assert.ok(link.since_ms >= from - 1500 && link.since_ms <= Date.now(), `since ${link.since_ms}, from ${from}`);
  assert.match(relayctl('session', user.id), new RegExp(`${name} +BROKEN since \\d{4}-`));
}

// Speaks for ever, sentence after sentence, until the phone leaves.
function speakOn(who) {
  const voice_ = { stop: false };
  voice_.ended = (async () => { while (!voice_.stop) await who.speakDataPcm(voice.pcm.subarray(0, 16000)).catch(() => { voice_.stop = true; }); })();
  return voice_;
}

before(async () => {
  standin = await startStandin('sphinx');
  user = newUser('links');
});
after(async () => {
  await user.leave();
  await phone.leave();
  user.close();
  standin?.stop();
  await nothingLeft();
});

test('a phone that is not there, then one that says nothing, then one that speaks', async () => {
  const began = Date.now();
  await user.mustJoin();
  stream = user.stream();
  await transcribe(user.id);
  await broken('audio', began, /not in the room/);
  phone = await user.phone();
  await until('the phone to be seen', async () => (await session(user.id)).target_present);
  await broken('audio', began, /has sent nothing: no track, no data packets/);
  await until('the data channel', async () => (await session(user.id)).transport.data_open);
  await phone.speakDataPcm(voice.pcm);
  await until('words', async () => (await captionState(user.id)).tokens > 0);
  const speaking = speakOn(phone);
  await until('all to be well', () => states() === 'ok ok ok ok ok').catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(links())}`); });
  speaking.stop = true;
  await speaking.ended;
  const quiet = Date.now();
  await broken('audio', quiet, /has stopped sending/);
});

test('a cloud that is gone', async () => {
  const speaking = speakOn(phone), gone = Date.now();
  await until('the voice', () => links().audio.state === 'ok');
  stream.call.cancel();
  await broken('cloud', gone, /StreamAudio has ended/);
  stream = user.stream();
  await until('all to be well', () => links().cloud.state === 'ok');
  speaking.stop = true;
  await speaking.ended;
});

test('Soniox that stalls, then one that takes the key no more', async () => {
  const speaking = speakOn(phone);
  await until('the voice', () => links().audio.state === 'ok' && links().Soniox.state === 'ok');
  const living = () => standin.log().connections.filter((connection) => !connection.ended).at(-1).id;
  let from = Date.now();
  standin.fault({ fault: 'mute', connection: living() });
  await broken('Soniox', from, /nothing comes back/);
  await until('the next connection', () => links().Soniox.state === 'ok', 40000);
  from = Date.now();
  standin.keys({ remove: 'standin-key' });
  standin.fault({ fault: 'reset', connection: living() });
  await broken('Soniox', from, /refused for good: ./);
  standin.keys({ add: 'standin-key' });
  await transcripts('Transcribe', { user_id: user.id });
  await until('all to be well', () => links().Soniox.state === 'ok', 40000);
  speaking.stop = true;
  await speaking.ended;
});

test('a session that never was', async () => {
  assert.throws(() => relayctl('session', 'nobody'), /no session/i);
  await sleep(0);
});
