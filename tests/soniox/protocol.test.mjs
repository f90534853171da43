// protocol.test.mjs - the stand-in keeps to the documented protocol: keys, checks, control messages, time, limits, accounting.
import { test, before, after, beforeEach } from 'node:test';
import assert from 'node:assert/strict';
import { Bare, KEY, START, Standin, numberedCell, numberedCells, numberedPacket, numberedWords, oggOf } from './lib/standin.mjs';

const SILENCE = Buffer.alloc(32000);
let standin;
before(async () => { standin = await Standin.start('--key', KEY, '--key', 'other-key', '--key', 'snx_temp_known'); });
after(() => standin.stop());
beforeEach(() => standin.reset());

// The documented end by an error: one frame in its full form, then close 1000.
async function refused(bare, code, type, message) {
  assert.equal(await bare.closed, 1000);
  const { last } = bare;
  assert.deepEqual(Object.keys(last), ['tokens', 'error_code', 'error_type', 'error_message', 'more_info', 'request_id']);
  assert.deepEqual(last.tokens, []);
  assert.equal(last.error_code, code);
  assert.equal(last.error_type, type);
  if (message !== undefined) assert.equal(last.error_message, message);
  assert.match(last.more_info, /^https:/);
  assert.match(last.request_id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(bare.messages.filter((m) => 'error_code' in m).length, 1);
  const log = await standin.wait({ connection: (await standin.log()).id, closed: 1 });
  assert.equal(log.sent.error_code, code);
  assert.equal(log.ended, 'server');
  return last;
}

async function finished(bare) {
  bare.text('');
  assert.equal(await bare.closed, 1000);
  assert.equal(bare.last.finished, true);
  assert.deepEqual(bare.last.tokens, []);
  assert.equal(bare.last.final_audio_proc_ms, bare.last.total_audio_proc_ms);
  for (const message of bare.messages) {
    assert.ok(!('error_code' in message) && !('error_message' in message), 'keys of errors are left out');
    const finals = message.tokens.map((t) => t.is_final);
    assert.ok(!finals.includes(false) || finals.lastIndexOf(true) < finals.indexOf(false), 'finals come first');
  }
  return bare.last;
}

test('three ways to bring the key', async () => {
  const ways = {
    header: [START, {}],
    subprotocol: [START, { headers: {}, protocols: ['soniox-api-key', KEY] }],
    start: [{ ...START, api_key: KEY }, { headers: {} }],
  };
  for (const [way, [start, options]] of Object.entries(ways)) {
    const bare = await Bare.open(standin, start, options);
    assert.equal(bare.ws.protocol, way === 'subprotocol' ? 'soniox-api-key' : '');
    bare.audio(numberedCells(0, 9));
    await finished(bare);
    const log = await standin.log();
    assert.equal(log.auth, way);
    assert.ok(!JSON.stringify(log).includes(KEY), 'the key is masked');
  }
  await finished(await (async () => { // the same key twice is no contradiction
    const bare = await Bare.open(standin, { ...START, api_key: KEY });
    bare.audio(numberedCells(0, 9));
    return bare;
  })());
});

test('keys that are wrong, missing or contradict each other', async () => {
  const began = performance.now();
  const wrong = await Bare.open(standin, START, { headers: { Authorization: 'Bearer wrong-key' } });
  await refused(wrong, 401, 'unauthenticated', 'Invalid API key.');
  assert.ok(performance.now() - began >= 100, 'the error comes some time after the 101');
  const cases = [
    [START, { headers: {} }, 401, 'unauthenticated', 'Missing API key.'],
    [{ ...START, api_key: 'wrong' }, { headers: {} }, 401, 'unauthenticated', 'Invalid API key.'],
    [START, { headers: {}, protocols: ['soniox-api-key', 'wrong'] }, 401, 'unauthenticated', 'Invalid API key.'],
    [START, { headers: {}, protocols: ['soniox-api-key', 'snx_temp_x'] }, 401, 'unauthenticated', 'Invalid/expired temporary API key.'],
    [START, { protocols: ['soniox-api-key', KEY] }, 400, 'invalid_request'],
    [{ ...START, api_key: 'other-key' }, {}, 400, 'invalid_request'],
  ];
  for (const [start, options, code, type, message] of cases)
    await refused(await Bare.open(standin, start, options), code, type, message);
  await standin.settings({ refuse_start_key: true });
  await refused(await Bare.open(standin, { ...START, api_key: KEY }, { headers: {} }), 401, 'unauthenticated', 'Missing API key.');
});

test('every check of the start message', async () => {
  const raw = { ...START }, long = 'x'.repeat(10001);
  const without = (key) => { const copy = { ...raw }; delete copy[key]; return copy; };
  const malformed = 'Start request is malformed.';
  const cases = [
    [without('model'), 'Invalid model specified.', 'model_not_available'],
    [{ ...raw, model: 'stt-rt-v9' }, 'Invalid model specified.', 'model_not_available'],
    [{ ...raw, model: 5 }, malformed],
    [without('audio_format'), /^Missing audio format\. /],
    [{ ...raw, audio_format: 'avi' }, 'Invalid audio data format: avi'],
    [without('sample_rate'), 'Audio data sample rate must be specified for PCM formats'],
    [without('num_channels'), 'Audio data channels must be specified for PCM formats'],
    [{ ...raw, sample_rate: '16000' }, malformed],
    [{ ...raw, language_hints: ['en', 'de', 'en'] }, 'Language hints must be unique.'],
    [{ ...raw, language_hints: ['xx'] }, 'Invalid language hint.'],
    [{ ...raw, language_hints: 'en' }, malformed],
    [{ ...raw, context: { text: long } }, 'Context is too long (max length 10000).'],
    [{ ...raw, context: { terms: Array(1001).fill('ten letter') } }, 'Context is too long (max length 10000).'],
    [{ ...raw, context: 'a bare text' }, malformed],
    [{ ...raw, context: { general: [{ key: 'a' }] } }, malformed],
    [{ ...raw, client_reference_id: 'x'.repeat(257) }, 'Client reference ID is too long (max length 256)'],
    [{ ...raw, translation: { type: 'one_way', target_language: 'xx' } }, 'Invalid translation target language.'],
    [{ ...raw, translation: { type: 'sideways' } }, malformed],
    [{ ...raw, max_endpoint_delay_ms: 400 }, malformed],
    [{ ...raw, endpoint_sensitivity: 1.5 }, malformed],
    [{ ...raw, endpoint_latency_adjustment_level: 4 }, malformed],
    [{ ...raw, model: 'stt-rt-v4', endpoint_sensitivity: 0.5 }, malformed],
    [{ ...raw, enable_endpoint_detection: 'yes' }, malformed],
    ['{"model":', malformed],
    ['[]', malformed],
    ['{"model":"stt-rt-v5","model":"stt-rt-v5"}', malformed],
    ['', malformed],
  ];
  await standin.settings({ per_minute: 1000 });
  for (const [start, message, type = 'invalid_request'] of cases) {
    const bare = await Bare.open(standin, null);
    bare.text(typeof start === 'string' ? start : JSON.stringify(start));
    const error = await refused(bare, 400, type, typeof message === 'string' ? message : undefined);
    if (message instanceof RegExp) assert.match(error.error_message, message);
  }
  const everything = await Bare.open(standin, {
    ...raw, language_hints: ['en', 'de'], language_hints_strict: true, client_reference_id: 'x'.repeat(256),
    context: { general: [{ key: 'topic', value: 'relays' }], text: 'x'.repeat(9000), terms: ['relay'], translation_terms: [{ source: 'a', target: 'b' }] },
    enable_speaker_diarization: true, enable_language_identification: true, enable_endpoint_detection: true, max_endpoint_delay_ms: 500,
    endpoint_sensitivity: -1, endpoint_latency_adjustment_level: 3, translation: { type: 'two_way', language_a: 'en', language_b: 'de' },
    include_nonfinal: true,
  });
  everything.audio(Buffer.concat([numberedCells(1, 2), SILENCE]));
  await finished(everything);
  const [first] = everything.finals, translated = everything.finals.find((t) => t.translation_status === 'translation');
  assert.deepEqual(first, { text: ' n1', start_ms: 0, end_ms: 20, confidence: 0.99, is_final: true, speaker: '1', language: 'en', translation_status: 'original' });
  assert.deepEqual(translated, { text: ' N1', confidence: 0.9, is_final: true, language: 'de', translation_status: 'translation', source_language: 'en', speaker: '1' });
  assert.deepEqual(everything.finals.find((t) => t.text === '<end>'), { text: '<end>', start_ms: 0, end_ms: 0, confidence: 1, is_final: true });
  assert.deepEqual((await standin.log()).unknown_keys, ['include_nonfinal']);
});

test('messages out of place', async () => {
  const invalid = 'invalid_request';
  const early = await Bare.open(standin, null);
  early.audio(Buffer.alloc(640));
  await refused(early, 400, invalid, 'Start request must be a text message.');
  for (const [text, message] of [
    ['{"type":"dance"}', 'Control request invalid type.'],
    [JSON.stringify(START), 'Control request invalid type.'], // no second start
    ['{"type":"finalize"', 'Control request malformed.'],
    ['7', 'Control request malformed.'],
    ['{"type":"finalize","trailing_silence_ms":"long"}', 'Control request malformed.'],
  ]) {
    const bare = await Bare.open(standin);
    bare.text(text);
    await refused(bare, 400, invalid, message);
  }
  const empty = await Bare.open(standin);
  empty.text('');
  await refused(empty, 400, invalid, 'No audio received.');
});

test('an empty binary message is not the end, and nobody acknowledges the start', async () => {
  const bare = await Bare.open(standin);
  await standin.wait({ started: 1, connection: (await standin.log()).id });
  bare.audio(numberedCells(0, 4));
  bare.ws.send(Buffer.alloc(0));
  bare.ws.ping();
  await bare.until('the pong', () => bare.pongs === 1);
  assert.ok(bare.messages.every((m) => !m.finished));
  bare.audio(numberedCells(5, 9));
  await finished(bare);
  assert.equal(bare.words, numberedWords(0, 9));
  assert.equal(bare.messages[0].tokens.length > 0, true, 'the first message is about audio');
});

test('every sample is accounted for; finals come once, non-finals are replaced', async () => {
  const bare = await Bare.open(standin, { ...START, enable_endpoint_detection: true });
  bare.audio(Buffer.concat([numberedCells(0, 199), SILENCE, numberedCells(70000, 70099)]), 1234);
  const last = await finished(bare);
  assert.equal(bare.words, numberedWords(0, 199) + numberedWords(70000, 70099));
  assert.equal(bare.finals.filter((t) => t.text === '<end>').length, 1);
  assert.equal(last.total_audio_proc_ms, 7000);
  let shown = 0;
  for (const message of bare.messages) {
    const nonfinals = message.tokens.filter((t) => !t.is_final);
    shown += nonfinals.length > 0;
    nonfinals.forEach((t, i) => assert.equal(t.text.endsWith('~'), i === nonfinals.length - 1));
    assert.ok(message.final_audio_proc_ms <= message.total_audio_proc_ms);
    for (const token of message.tokens.filter((t) => t.is_final && t.text !== '<end>'))
      assert.ok(token.end_ms <= message.final_audio_proc_ms, 'a final is covered');
    for (const token of nonfinals) assert.ok(token.start_ms >= message.final_audio_proc_ms, 'a non-final is not');
  }
  assert.ok(shown > 10, `${shown} messages with non-finals`);
  const { received } = await standin.log();
  assert.deepEqual(received.numbers, [[0, 199], [70000, 70099]]);
  assert.equal(received.other_samples, 16000);
  assert.equal(received.damaged_cells, 0);
  assert.equal(received.audio_ms, 7000);
});

test('cells off the grid are found, damaged ones are not believed', async () => {
  const damaged = numberedCell(7);
  damaged[100] ^= 1;
  const bare = await Bare.open(standin);
  bare.audio(Buffer.concat([Buffer.alloc(14, 1), numberedCells(3, 5), damaged, numberedCells(8, 9)]));
  await finished(bare);
  const { received, units } = (await standin.control('GET', 'log?units=1')).connections.at(-1);
  assert.deepEqual(received.numbers, [[3, 5], [8, 9]]);
  assert.match(units.join(' '), /^h[0-9a-f]{8} n3 n4 n5 h[0-9a-f]{8} n8 n9$/);
  assert.equal(received.damaged_cells, 1);
  assert.equal(received.other_samples, 7 + 320);
});

test('Ogg: packets are accounted for as they are', async () => {
  const packets = Array.from({ length: 150 }, (_, i) => numberedPacket(i));
  for (const format of ['ogg', 'auto']) {
    const bare = await Bare.open(standin, { model: 'stt-rt-v5', audio_format: format });
    bare.audio(oggOf(packets), 777);
    const last = await finished(bare);
    assert.equal(bare.words, numberedWords(0, 149));
    assert.equal(last.total_audio_proc_ms, 3000);
    const { received, ogg } = await standin.log();
    assert.deepEqual(received.numbers, [[0, 149]]);
    assert.deepEqual(ogg, { pages: 152, packets: 150, holes: 0, skipped_bytes: 0, granule_errors: 0 });
  }
  const wrong = await Bare.open(standin, { model: 'stt-rt-v5', audio_format: 'ogg' });
  wrong.audio(oggOf(packets, { skew: 480 }));
  await finished(wrong);
  assert.ok((await standin.log()).ogg.granule_errors > 0, 'a wrong granule position is seen');
  const hole = oggOf(packets), at = hole.indexOf('OggS', hole.length / 2);
  const torn = await Bare.open(standin, { model: 'stt-rt-v5', audio_format: 'ogg' });
  torn.audio(Buffer.concat([hole.subarray(0, at), hole.subarray(at + 52)])); // one page is missing
  await finished(torn);
  assert.equal((await standin.log()).ogg.holes, 1);
  const none = await Bare.open(standin, { model: 'stt-rt-v5', audio_format: 'ogg' });
  none.audio(oggOf([]).subarray(0, 47)); // a head without audio
  none.audio(oggOf([Buffer.from([0x48, 1, 2])]).fill('X', 28, 36)); // damaged, so skipped
  none.text('');
  await none.closed;
  const bad = await Bare.open(standin, { model: 'stt-rt-v5', audio_format: 'ogg' });
  bad.audio(oggOf([Buffer.from([3, 0xff, 0xff])])); // 63 frames of 10 ms: no Opus packet
  await refused(bad, 400, 'invalid_request', 'Audio decode error');
});

test('formats the service has and the stand-in has not', async () => {
  for (const start of [{ ...START, audio_format: 'webm' }, { ...START, sample_rate: 48000 }])
    await refused(await Bare.open(standin, start), 400, 'invalid_request', 'Audio decode error');
});

test('20 s without input is the end; pings and empty chunks are no input', async () => {
  await standin.clock({ speed: 0 });
  const bare = await Bare.open(standin), id = (await standin.log()).id;
  bare.audio(numberedCells(0, 0));
  await standin.wait({ connection: id, audio_ms: 20 });
  for (let i = 0; i < 3; i++) { // a minute of keepalives
    await standin.clock({ advance_ms: 19900 });
    bare.json({ type: 'keepalive' });
    const log = await standin.wait({ connection: id, keepalives: i + 1 });
    assert.equal(log.state, 'started');
  }
  const before = bare.messages.length;
  assert.ok(bare.messages.slice(-3).every((m) => 'total_audio_proc_ms' in m), 'each keepalive is answered');
  await standin.clock({ advance_ms: 19990 });
  bare.ws.send(Buffer.alloc(0));
  bare.ws.ping();
  await bare.until('the pong', () => bare.pongs === 1);
  await standin.clock({ advance_ms: 20 });
  await refused(bare, 408, 'request_timeout', 'Request timeout.');
  assert.ok(bare.messages.length > before);
  assert.equal((await standin.log(id)).received.keepalives, 3);
});

test('time before the first audio, before the start, and for what cannot be decoded', async () => {
  await standin.clock({ speed: 0 });
  const cases = [
    [() => Bare.open(standin), [20000], 'Timed out while waiting for the first audio chunk'],
    [() => Bare.open(standin, null), [20000], 'Start request timeout'],
    [async () => {
      const bare = await Bare.open(standin, { ...START, audio_format: 'auto' });
      bare.audio(Buffer.alloc(64000, 1));
      return bare;
    }, [20000], 'Audio data decode timeout'],
  ];
  for (const [open, times, message] of cases) {
    const bare = await open(), { id } = await standin.log();
    if (message.startsWith('Timed')) await standin.wait({ connection: id, started: 1 });
    if (message.startsWith('Audio')) { // keepalives do not help it
      await standin.wait({ connection: id, bytes: 64000 });
      await standin.clock({ advance_ms: 15000 });
      bare.json({ type: 'keepalive' });
      await standin.wait({ connection: id, keepalives: 1 });
      times[0] = 5000;
    }
    for (const advance_ms of times) await standin.clock({ advance_ms });
    await refused(bare, 408, 'request_timeout', message);
  }
});

test('a warm connection is kept by keepalives, for 10 minutes', async () => {
  await standin.clock({ speed: 0 });
  const bare = await Bare.open(standin, null), { id } = await standin.log();
  for (let i = 1; i <= 31; i++) {
    bare.json({ type: 'keepalive' });
    await standin.wait({ connection: id, keepalives: i });
    await standin.clock({ advance_ms: 19000 });
  }
  assert.deepEqual(bare.messages, []);
  await standin.clock({ advance_ms: 11000 });
  await refused(bare, 408, 'request_timeout', 'Start request timeout');
  await standin.clock({ speed: 1 });
  const unknown = await Bare.open(standin, null, { headers: {} }); // without a key there is nothing to keep warm
  unknown.json({ type: 'keepalive' });
  await refused(unknown, 401, 'unauthenticated', 'Missing API key.');
});

test('300 minutes are the most', async () => {
  await standin.clock({ speed: 0 });
  const bare = await Bare.open(standin);
  bare.audio(numberedCells(0, 0));
  await standin.wait({ connection: (await standin.log()).id, audio_ms: 20 });
  await standin.clock({ advance_ms: 300 * 60000 });
  await refused(bare, 413, 'max_duration_reached');
});

test('a clock that runs fast', async () => {
  await standin.clock({ speed: 100 });
  const began = performance.now(), bare = await Bare.open(standin);
  bare.audio(numberedCells(0, 0));
  await refused(bare, 408, 'request_timeout', 'Request timeout.');
  assert.ok(performance.now() - began < 10000);
});

test('10 requests at once, 20 connections, 100 requests a minute', async () => {
  const many = [];
  for (let i = 0; i < 10; i++) many.push(await Bare.open(standin));
  await standin.wait({ started: 10 });
  const limits = await (await fetch(`${standin.rest}/v1/concurrency-limits`, { headers: { Authorization: `Bearer ${KEY}` } })).json();
  assert.deepEqual(limits.project, { current: { transcribe_concurrent: 10, tts_concurrent: 0 }, limits: { transcribe_concurrent: 10, tts_concurrent: 0 } });
  await refused(await Bare.open(standin), 429, 'limit_exceeded', 'Your project has exceeded max number of concurrent requests.');
  many[0].audio(numberedCells(0, 9));
  await finished(many[0]); // a place is free at once
  many[0] = await Bare.open(standin);
  many[0].audio(numberedCells(0, 9));
  await many[0].until('tokens', () => many[0].messages.length > 0);
  for (let i = 0; i < 10; i++) many.push(await Bare.open(standin, null)); // warm ones are no requests
  await refused(await Bare.open(standin, null), 429, 'max_concurrent_connections_reached');
  await Promise.all(many.map((bare) => bare.end()));
  const { opened } = await standin.control('GET', 'log');
  await standin.wait({ closed: opened });

  await standin.reset();
  await standin.clock({ speed: 0 });
  for (let i = 0; i < 100; i++) {
    const bare = await Bare.open(standin), { id } = await standin.log();
    await standin.wait({ connection: id, started: 1 });
    await bare.end();
    await standin.wait({ connection: id, closed: 1 });
  }
  await refused(await Bare.open(standin), 429, 'limit_exceeded', 'Rate limit for your project has been exceeded.');
  await standin.clock({ advance_ms: 60000 });
  const bare = await Bare.open(standin);
  bare.audio(numberedCells(0, 9));
  await standin.clock({ speed: 1 });
  await finished(bare);
});

test('HTTP besides', async () => {
  const get = (path, headers = { Authorization: `Bearer ${KEY}` }) => fetch(`${standin.rest}${path}`, { headers });
  assert.equal((await get('/v1/models')).status, 200);
  const denied = await get('/v1/models', {});
  assert.equal(denied.status, 401);
  assert.equal((await denied.json()).error_type, 'unauthenticated');
  assert.equal((await get('/nothing')).status, 404);
  await assert.rejects(new Bare(standin.url.replace('transcribe', 'other')).opened, /404/);
  await assert.rejects(standin.fault({ fault: 'dance' }), /no such fault/);
  await assert.rejects(standin.fault({ fault: 'stall', sec: 3 }), /no such key/);
  await assert.rejects(standin.settings({ concurrent: -1 }), /whole number/);
  await assert.rejects(standin.control('GET', 'wait?opened=99999999&limit_ms=10'), /did not come/);
});
