// sdk.test.mjs - real speech through Soniox' own SDK (@soniox/node): what it hears, and what it must not lose over a reconnect.
import { test, before, after, beforeEach } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Bare, START, Standin, numberedCells, numberedWords } from './lib/standin.mjs';

const SAMPLES = '/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-';
// What the recogniser makes of the five sentences, to the letter. The reference is in the samples' file `transcription`.
const HEARD = {
  '0870': 'and mr john guess what and then at leisure to consider how much there might be greatly in his power to do for them',
  '0880': 'he was not an illness those young man',
  '0890': 'hello study rather cold hearted and rather selfish is to the oldest those',
  '0920': 'had he married a more amiable woman he might have been made still more respectable many watts',
  '0930': 'he might even have been made a real boy myself so',
};
const PAUSE = Buffer.alloc(32000);
const pcmOf = (name) => readFileSync(`${SAMPLES}${name}.wav`).subarray(44);
const scratch = mkdtempSync(path.join(tmpdir(), 'standin-'));

let standin;
before(async () => { standin = await Standin.start('--recogniser', 'sphinx'); });
after(async () => {
  await standin.stop();
  rmSync(scratch, { recursive: true });
});
beforeEach(() => standin.reset());

// A session of the SDK with its events kept.
async function session(config = {}, options = undefined) {
  const stt = standin.client().realtime.stt({ ...START, enable_endpoint_detection: true, ...config }, options);
  const seen = { results: [], events: [], errors: [] };
  stt.on('result', (result) => seen.results.push(result));
  stt.on('error', (error) => seen.errors.push(error));
  for (const event of ['endpoint', 'finalized', 'finished', 'connected']) stt.on(event, () => seen.events.push(event));
  await stt.connect();
  return { stt, seen };
}

const finalTokens = (seen) => seen.results.flatMap((r) => r.tokens.filter((t) => t.is_final));
const textOf = (tokens) => tokens.map((t) => t.text).join('');

function send(stt, pcm, bytes = 3840) { // 120 ms, as the service's examples do
  for (let at = 0; at < pcm.length; at += bytes) stt.sendAudio(pcm.subarray(at, at + bytes));
}

test('five sentences: exact words, interims before finals, times in order', async () => {
  const { stt, seen } = await session();
  for (const name of Object.keys(HEARD)) send(stt, Buffer.concat([pcmOf(name), PAUSE]));
  await stt.finish();
  const finals = finalTokens(seen);
  assert.equal(textOf(finals), Object.values(HEARD).join(' '));
  assert.deepEqual(seen.events, ['connected', ...Array(5).fill('endpoint'), 'finished']);
  assert.deepEqual(seen.errors, []);
  let end = 0;
  for (const token of finals) {
    assert.ok(token.start_ms >= end - 10 && token.end_ms >= token.start_ms, JSON.stringify(token));
    assert.ok(token.confidence >= 0 && token.confidence <= 1);
    end = token.end_ms;
  }
  assert.ok(finals.some((t) => !t.text.startsWith(' ')), 'long words are more than one token');
  assert.ok(seen.results.filter((r) => r.tokens.some((t) => !t.is_final)).length >= 30, 'interims come while words are spoken');
  const { final_audio_proc_ms, total_audio_proc_ms } = seen.results.at(-1);
  assert.equal(final_audio_proc_ms, total_audio_proc_ms);
  assert.equal(total_audio_proc_ms, 24730 + 5000);
});

// The whole promise in small: whoever repeats from final_audio_proc_ms gets the words of an undisturbed connection, once.
test('cut connections: repeating from final_audio_proc_ms gives the same words at the same times', async () => {
  const names = ['0880', '0930', '0880'];
  const pcm = Buffer.concat(names.flatMap((name) => [pcmOf(name), PAUSE]));
  const run = async (cuts) => {
    const tokens = [];
    for (let from = 0, ended = false; !ended;) {
      if (cuts.length > 0) await standin.fault({ fault: 'reset', at: { audio_ms: Math.max(cuts.shift() - from, 20) } });
      const bare = await Bare.open(standin), offset = from;
      bare.audio(pcm.subarray(from * 32), 640);
      bare.text('');
      await bare.closed;
      ended = bare.messages.at(-1)?.finished === true;
      for (const message of bare.messages) {
        from = offset + message.final_audio_proc_ms;
        for (const token of message.tokens.filter((t) => t.is_final))
          tokens.push([token.text.trim(), token.start_ms + offset, token.end_ms + offset]);
      }
    }
    return tokens;
  };
  const undisturbed = await run([]);
  assert.equal(undisturbed.map(([text]) => text).join(''),
    names.map((name) => HEARD[name]).join('').replaceAll(' ', ''));
  // In a pause, in mid word, in the next pause's first moment, in mid word again.
  assert.deepEqual(await run([3700, 5000, 8220, 9000]), undisturbed);
});

test('Ogg/Opus from opusenc: as ogg and as auto, in pieces of any size', async () => {
  const file = path.join(scratch, 'speech.opus');
  execFileSync('opusenc', ['--quiet', '--bitrate', '64', `${SAMPLES}0880.wav`, file]);
  const ogg = readFileSync(file), heard = [];
  for (const [audio_format, bytes] of [['ogg', 997], ['auto', 4096]]) {
    const { stt, seen } = await session({ audio_format, sample_rate: undefined, num_channels: undefined });
    send(stt, ogg, bytes);
    await stt.finish();
    heard.push(textOf(finalTokens(seen)));
    const log = await standin.log();
    const { units } = (await standin.control('GET', `log?connection=${log.id}&units=1`)).connections[0];
    assert.ok(units.length >= 149 && units.every((unit) => /^[hq]/.test(unit)));
    assert.deepEqual({ ...log.ogg, pages: 0, packets: 0 }, { pages: 0, packets: 0, holes: 0, skipped_bytes: 0, granule_errors: 0 });
    // opusinfo measures what we must have got: the sample is 2.99 s long.
    assert.match(execFileSync('opusinfo', [file]).toString(), /Playback length: 0m:02\.99/);
    assert.ok(Math.abs(log.received.audio_ms - 2990) <= 20, `${log.received.audio_ms} ms`);
  }
  assert.equal(heard[0], heard[1]);
  assert.equal(heard[0], HEARD['0880']);
});

test('pause, keepalive, resume, finalize, finish', async () => {
  await standin.settings({ recogniser: 'scripted' });
  const { stt, seen } = await session({}, { keepalive_interval_ms: 1000 });
  const { id } = await standin.log();
  send(stt, numberedCells(0, 49));
  stt.pause(); // finalizes
  assert.equal(stt.paused, true);
  stt.sendAudio(numberedCells(50, 59)); // is not sent while paused
  const paused = await standin.wait({ connection: id, keepalives: 2 });
  assert.equal(paused.received.finalizes, 1);
  assert.equal(paused.sent.fin_tokens, 1);
  stt.resume();
  send(stt, numberedCells(60, 69));
  stt.finalize({ trailing_silence_ms: 300 });
  await standin.wait({ connection: id, fins: 2 });
  await stt.finish();
  assert.equal(textOf(finalTokens(seen)), numberedWords(0, 49) + numberedWords(60, 69));
  assert.deepEqual(seen.events, ['connected', 'finalized', 'finalized', 'finished']);
  const log = await standin.wait({ connection: id, closed: 1 });
  assert.deepEqual(log.received.numbers, [[0, 49], [60, 69]]);
  assert.equal(log.auth, 'start', 'this SDK still brings its key in the start message');
  assert.ok(seen.results.some((r) => r.tokens.length === 0 && r.total_audio_proc_ms === 1000), 'a keepalive is answered by an empty message');
});

test('errors reach the SDK as what they are', async () => {
  await standin.settings({ recogniser: 'scripted' });
  const cases = [
    [{ fault: 'error', code: 401 }, 'AuthError', 401], [{ fault: 'error', code: 402 }, 'QuotaError', 402],
    [{ fault: 'error', code: 408 }, 'NetworkError', 408], [{ fault: 'error', code: 413 }, 'RealtimeError', 413],
    [{ fault: 'error', code: 429 }, 'QuotaError', 429], [{ fault: 'error', code: 503 }, 'NetworkError', 503],
    [{ fault: 'no_finished' }, 'ConnectionError', undefined], [{ fault: 'close', at: 'end' }, 'ConnectionError', undefined],
  ];
  for (const [fault, name, code] of cases) {
    await standin.fault({ at: 'end', ...fault });
    const { stt, seen } = await session();
    send(stt, numberedCells(0, 99));
    const error = await stt.finish().then(() => null, (e) => e);
    assert.equal(error?.name, name, JSON.stringify(fault));
    assert.equal(error.statusCode, code);
    assert.equal(seen.errors.length, 1);
  }
  const wrong = standin.client('wrong-key').realtime.stt({ ...START });
  const refused = new Promise((resolve) => { wrong.on('error', resolve); });
  await wrong.connect(); // open does not mean authenticated
  assert.equal((await refused).name, 'AuthError');
});

test('REST through the SDK', async () => {
  const client = standin.client();
  const models = await client.models.list();
  const model = models.find((m) => m.id === 'stt-rt-v5');
  assert.equal(model.transcription_mode, 'real_time');
  assert.equal(model.endpoint_latency_adjustment_max_level, 3);
  await assert.rejects(standin.client('wrong-key').models.list(), (e) => e.statusCode === 401 || /401|API key/.test(e.message));
});

test('TLS', async () => {
  const cert = path.join(scratch, 'cert.pem'), key = path.join(scratch, 'key.pem');
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert,
    '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'], { stdio: 'ignore' });
  const secure = await Standin.start('--tls', cert, key);
  try {
    await assert.rejects(new Bare(secure.url).opened, /self-signed/);
    const bare = await Bare.open(secure, START, { ca: readFileSync(cert) });
    bare.audio(numberedCells(0, 299), 320);
    bare.text('');
    assert.equal(await bare.closed, 1000);
    assert.equal(bare.words, numberedWords(0, 299));
    await secure.fault({ fault: 'reset', at: { audio_ms: 1000 } });
    const cut = await Bare.open(secure, START, { ca: readFileSync(cert) });
    cut.audio(numberedCells(0, 299), 320);
    assert.equal(await cut.closed, 1006);
  } finally { await secure.stop(); }
});
