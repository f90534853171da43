// faults.test.mjs - every fault the stand-in can be told to do, seen from the client's side of the wire.
import { test, before, after, beforeEach } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { Bare, START, Standin, numberedCells, numberedWords } from './lib/standin.mjs';

let standin;
before(async () => { standin = await Standin.start(); });
after(() => standin.stop());
beforeEach(() => standin.reset());

const speech = (ms, first = 0) => numberedCells(first, first + ms / 20 - 1);

// A raw connection after the handshake: what a WebSocket library would not show.
async function rawOpen() {
  const socket = net.connect(standin.port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write('GET /transcribe-websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    + 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer standin-key\r\n\r\n');
  let seen = Buffer.alloc(0);
  socket.on('data', (data) => { seen = Buffer.concat([seen, data]); });
  socket.on('error', () => {});
  await new Promise((resolve) => { socket.on('close', resolve); });
  return seen;
}

test('each error, in mid speech', async () => {
  const cases = [
    [{ code: 401 }, 401, 'unauthenticated'], [{ code: 402 }, 402, 'organization_balance_exhausted'],
    [{ type: 'organization_monthly_budget_exhausted' }, 402, 'organization_monthly_budget_exhausted'],
    [{ type: 'project_monthly_budget_exhausted' }, 402, 'project_monthly_budget_exhausted'],
    [{ code: 403 }, 403, 'permission_denied'], [{ type: 'temp_api_key_session_expired' }, 403, 'temp_api_key_session_expired'],
    [{ code: 408 }, 408, 'request_timeout'], [{ message: 'Input too slow' }, 408, 'request_timeout'],
    [{ code: 413 }, 413, 'max_duration_reached'], [{ code: 429 }, 429, 'limit_exceeded'], [{ error: 'rate' }, 429, 'limit_exceeded'],
    [{ type: 'max_concurrent_connections_reached' }, 429, 'max_concurrent_connections_reached'],
    [{ code: 500 }, 500, 'internal_error'], [{ code: 503 }, 503, 'service_unavailable'],
  ];
  for (const [what, code, type] of cases) {
    await standin.fault({ fault: 'error', ...what, at: { audio_ms: 3000 } });
    const bare = await Bare.open(standin);
    bare.audio(speech(5000));
    assert.equal(await bare.closed, 1000);
    assert.equal(bare.last.error_code, code);
    assert.equal(bare.last.error_type, type);
    const finals = bare.finals.length, log = await standin.log();
    assert.ok(finals > 0 && finals < 150, `${finals} words before`);
    assert.equal(bare.messages.at(-2).final_audio_proc_ms, finals * 20, 'what is covered is what was said');
    assert.equal(log.sent.final_audio_proc_ms, finals * 20);
    assert.deepEqual(log.faults, ['error']);
  }
});

test('at every moment', async () => {
  for (const [at, words] of [['open', ''], ['start', ''], ['end', numberedWords(0, 99)], [{ finals: 50 }, numberedWords(0, 74)]]) {
    await standin.fault({ fault: 'error', code: 503, at });
    const bare = await Bare.open(standin, null);
    if (at !== 'open') bare.json(START);
    if (at === 'end' || at.finals) bare.audio(speech(2000));
    if (at === 'end') bare.text('');
    assert.equal(await bare.closed, 1000);
    assert.equal(bare.last.error_code, 503, JSON.stringify(at));
    assert.ok(bare.words === words || at.finals, bare.words);
    assert.ok(!bare.messages.some((m) => m.finished));
  }
  await standin.clock({ speed: 0 });
  await standin.fault({ fault: 'error', code: 503, at: { ms: 7000 } });
  const bare = await Bare.open(standin);
  await standin.clock({ advance_ms: 6990 });
  bare.audio(speech(20));
  await bare.until('tokens', () => bare.messages.length > 0);
  await standin.clock({ advance_ms: 10 });
  assert.equal(await bare.closed, 1000);
  assert.equal(bare.last.error_code, 503);
});

test('for whom: skip, the next N, one that lives, all', async () => {
  const tryOne = async () => {
    const bare = await Bare.open(standin);
    bare.audio(speech(100));
    bare.text('');
    await bare.closed;
    return bare.last.error_code ?? 'well';
  };
  await standin.fault({ fault: 'error', code: 503, connections: 2, skip: 1 });
  assert.deepEqual([await tryOne(), await tryOne(), await tryOne(), await tryOne()], ['well', 503, 503, 'well']);
  const living = await Bare.open(standin), { id } = await standin.log(), other = await Bare.open(standin);
  await standin.fault({ fault: 'error', code: 413, connection: id });
  assert.equal(await living.closed, 1000);
  assert.equal(living.last.error_code, 413);
  other.audio(speech(100));
  other.text('');
  await other.closed;
  assert.ok(other.last.finished);
  await standin.fault({ fault: 'error', code: 500, connections: 0 });
  assert.deepEqual([await tryOne(), await tryOne()], [500, 500]);
  await standin.control('DELETE', 'faults');
  assert.equal(await tryOne(), 'well');
});

test('reset in mid word, drop, close', async () => {
  for (const [fault, code] of [['reset', 1006], ['drop', 1006], ['close', 1000]]) {
    await standin.fault({ fault, at: { audio_ms: 1010 } });
    const bare = await Bare.open(standin);
    bare.audio(speech(3000), 320);
    assert.equal(await bare.closed, code, fault);
    assert.equal(bare.errorFrame, undefined);
    assert.deepEqual((await standin.wait({ connection: (await standin.log()).id, closed: 1 })).faults, [fault]);
  }
  await standin.fault({ fault: 'close', code: 1012 });
  assert.equal(await (await Bare.open(standin)).closed, 1012);
});

test('stall: neither read nor answered, not closed; then it goes on', async () => {
  await standin.fault({ fault: 'stall', ms: 5000, at: { audio_ms: 500 } });
  await standin.clock({ speed: 0 });
  const bare = await Bare.open(standin), { id } = await standin.log();
  bare.audio(speech(2000));
  bare.ws.ping();
  const log = await standin.wait({ connection: id, faults: 1 });
  assert.ok(log.received.audio_ms >= 500 && log.received.audio_ms < 700, `${log.received.audio_ms} ms`);
  await standin.clock({ advance_ms: 4900 });
  assert.equal(bare.pongs, undefined);
  assert.equal((await standin.log(id)).received.audio_ms, log.received.audio_ms);
  await standin.clock({ advance_ms: 200 });
  await bare.until('the pong', () => bare.pongs === 1);
  bare.text('');
  await standin.clock({ speed: 1 });
  await bare.closed;
  assert.equal(bare.words, numberedWords(0, 99));
  await standin.fault({ fault: 'stall' }); // for ever: only the peer can end it
  const forEver = await Bare.open(standin), stalled = await standin.wait({ connection: (await standin.log()).id, faults: 1 });
  await standin.clock({ advance_ms: 3600000 });
  await forEver.end();
  assert.equal((await standin.wait({ connection: stalled.id, closed: 1 })).ended, 'lost');
});

test('mute: reads and answers pings, says nothing; then all at once', async () => {
  await standin.fault({ fault: 'mute', ms: 5000, at: { audio_ms: 100 } });
  await standin.clock({ speed: 0 });
  const bare = await Bare.open(standin), { id } = await standin.log();
  bare.audio(speech(2000));
  await standin.wait({ connection: id, audio_ms: 2000 });
  bare.ws.ping();
  await bare.until('the pong', () => bare.pongs === 1);
  assert.equal(bare.messages.length, 0);
  await standin.clock({ advance_ms: 5000 });
  bare.text('');
  await standin.clock({ speed: 1 });
  await bare.closed;
  assert.equal(bare.words, numberedWords(0, 99));
});

test('slow reading', async () => {
  await standin.fault({ fault: 'slow_read', bytes_per_s: 16000, ms: 4000, at: 'start' });
  await standin.clock({ speed: 0 });
  const bare = await Bare.open(standin), { id } = await standin.log();
  await standin.wait({ connection: id, faults: 1 });
  bare.audio(speech(10000));
  bare.text('');
  await standin.clock({ advance_ms: 1000 });
  await standin.wait({ connection: id, audio_ms: 350 });
  assert.ok((await standin.log(id)).received.bytes <= 16000);
  await standin.clock({ advance_ms: 1000 });
  const log = await standin.wait({ connection: id, audio_ms: 700 });
  assert.ok(log.received.bytes > 16000 && log.received.bytes <= 32000, `${log.received.bytes} bytes`);
  await standin.clock({ speed: 10 });
  await bare.closed;
  assert.equal(bare.words, numberedWords(0, 499));
});

test('late, duplicate, no finished', async () => {
  await standin.clock({ speed: 0 });
  await standin.fault({ fault: 'late', ms: 3000 });
  const late = await Bare.open(standin), { id } = await standin.log();
  late.audio(speech(2000));
  await standin.wait({ connection: id, audio_ms: 2000 });
  await standin.clock({ advance_ms: 2900 });
  late.ws.ping();
  await late.until('the pong', () => late.pongs === 1);
  assert.equal(late.messages.length, 0);
  await standin.clock({ speed: 10 });
  late.text('');
  await late.closed;
  assert.equal(late.words, numberedWords(0, 99));

  await standin.reset();
  await standin.fault({ fault: 'duplicate' });
  const twice = await Bare.open(standin);
  twice.audio(speech(3000));
  twice.text('');
  await twice.closed;
  const withFinals = twice.messages.filter((m) => m.tokens.some((t) => t.is_final));
  assert.ok(withFinals.length >= 4 && withFinals.length % 2 === 0);
  for (let i = 0; i < withFinals.length; i += 2) assert.deepEqual(withFinals[i], withFinals[i + 1]);
  assert.ok(twice.last.finished);

  await standin.fault({ fault: 'no_finished' });
  const cut = await Bare.open(standin);
  cut.audio(speech(1000));
  cut.text('');
  assert.equal(await cut.closed, 1000);
  assert.equal(cut.words, numberedWords(0, 49));
  assert.ok(!cut.messages.some((m) => m.finished));
});

test('no connection: closed port, reset at once, silence, another HTTP answer, redirect', async () => {
  await standin.control('POST', 'listen', { open: false });
  await assert.rejects(new Bare(standin.url).opened, /ECONNREFUSED/);
  await standin.control('POST', 'listen', { open: true });
  await standin.fault({ fault: 'refuse', connections: 2 });
  for (let i = 0; i < 2; i++) await assert.rejects(new Bare(standin.url).opened, /ECONNRESET|hang up/);
  await standin.fault({ fault: 'silent' });
  await assert.rejects(new Bare(standin.url, { handshakeTimeout: 300 }).opened, /timed out/);
  for (const status of [401, 429, 503]) {
    await standin.fault({ fault: 'http', status });
    await assert.rejects(new Bare(standin.url).opened, new RegExp(`${status}`));
  }
  await standin.fault({ fault: 'http', status: 302, location: 'ws://127.0.0.1:1/elsewhere' });
  await assert.rejects(new Bare(standin.url, { followRedirects: true }).opened, /127.0.0.1:1$/);
  const bare = await Bare.open(standin);
  bare.audio(speech(100));
  bare.text('');
  await bare.closed;
  assert.ok(bare.last.finished);
});

test('hostile frames', async () => {
  for (const [fault, error] of [
    [{ fault: 'utf8' }, /[Ii]nvalid UTF-8/], [{ fault: 'masked' }, /MASK must be clear/],
    [{ fault: 'raw', hex: 'c1020000' }, /RSV1 must be clear/], [{ fault: 'garbage' }, /Invalid WebSocket frame|Unsupported|Max payload|RSV/],
  ]) {
    await standin.fault(fault);
    const bare = await Bare.open(standin, null, { maxPayload: 1 << 20 });
    await bare.closed.catch(() => {});
    if (fault.fault !== 'garbage' || bare.error) assert.match(String(bare.error), error, fault.fault);
  }
  await standin.fault({ fault: 'big' });
  const big = await Bare.open(standin, null, { maxPayload: 1 << 20 });
  await big.closed;
  assert.match(String(big.error), /Max payload size exceeded/);
  for (const fault of [{ fault: 'deep' }, { fault: 'big' }, { fault: 'text', text: '{"tokens":null,"error_code":null}' }]) {
    await standin.fault(fault);
    const { seen } = await new Promise((resolve) => {
      const bare = new Bare(standin.url);
      bare.ws.removeAllListeners('message');
      bare.ws.once('message', (data) => { bare.end(); resolve({ seen: data }); });
    });
    if (fault.fault === 'text') assert.equal(seen.toString(), fault.text);
    else assert.equal(seen.length, fault.fault === 'deep' ? 100000 : 10 << 20);
  }
  await standin.fault({ fault: 'cut' });
  assert.match((await rawOpen()).toString('latin1'), / cut$/);
});
