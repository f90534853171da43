// hostile_server.test.mjs - livekit_url may name anybody: whatever a server does, the join ends in time with its reason, nothing
// grows, and who talks over another server loses nothing.
import { test, before, after } from 'node:test';
import { assert, countOrder, fds, newUser, nothingLeft, receivedNumbers, rss, sleep, status, until } from './lib/world.mjs';
import { speaker } from './lib/swaps.mjs';
import { JOIN, certificate, drip, frame, message, pour, serve } from './lib/hostile_server.mjs';

const host = process.env.PHONE_HOST;
const voice = await speaker('talker', 'data'), { user, phone } = voice;
let elsewhere;

before(async () => {
  await user.mustJoin();
  const stream = voice.listen();
  await voice.ready();
  voice.speak();
  await until('one second of speech', () => stream.bytes >= 32000);
  elsewhere = await serve(host, { http: () => {} });
});

after(async () => {
  await voice.stop();
  elsewhere.close();
  await voice.close();
  await nothingLeft();
});

async function nothingLost(what) {
  const said = phone.dataFrame;
  await until(`all ${said} frames after ${what}`, () => voice.bytes() >= said * 640, 5000).catch(() => {});
  const order = countOrder(receivedNumbers(voice.streams[0]));
  assert.deepEqual([order.first, order.lost, order.doubled, order.disorder], [0, 0, 0, 0], `${what}: ${JSON.stringify(order)}`);
  assert.ok(order.received >= said, `${what}: ${order.received} of ${said}`);
}

const redirect = (to) => ({ http: (socket) => socket.end(`HTTP/1.1 302 Found\r\nLocation: ${to}\r\nContent-Length: 0\r\n\r\n`) });
const status_ = (line, body) => ({ http: (socket) => socket.end(Buffer.concat([Buffer.from(`HTTP/1.1 ${line}\r\nContent-Length: ${body.length}\r\n\r\n`), body])) });
const after_join = (next) => ({ ws: (socket) => { socket.write(frame(message(JOIN))); next(socket); } });
// Answers every offer with a description.
const answering = (sdp) => ({
  ws: (socket) => socket.write(frame(message(JOIN))),
  said: (socket, request) => request.offer && socket.write(frame(message({ answer: { type: 'answer', sdp: sdp(), id: request.offer.id } }))),
});
const good = 'a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:active\r\na=fingerprint:sha-256 ' + Array(32).fill('AB').join(':') + '\r\n';
const candidate = (i) => `candidate:1 1 udp 1 10.${i >> 16 & 255}.${i >> 8 & 255}.${i & 255} ${1024 + (i % 60000)} typ host`;
const late = /did not answer the join in time|no answer within/;

// name: [what the server does, what the join says]
const servers = {
  'slow loris': [{ http: (socket) => drip(socket, Buffer.from('HTTP/1.1 101 Switching Protocols\r\n' + 'x: y\r\n'.repeat(1000)), 100) }, late],
  'endless header': [{ http: (socket) => pour(socket, (i) => (i ? 'x'.repeat(4096) : 'HTTP/1.1 101 OK\r\nx: ')) }, /cannot connect/],
  'many headers': [{ http: (socket) => pour(socket, (i) => (i ? 'x: y\r\n'.repeat(100) : 'HTTP/1.1 101 OK\r\n')) }, /cannot connect/],
  'redirect to http': [redirect('http://127.0.0.1/'), /302/],
  'redirect to file': [redirect('file:///etc/passwd'), /302/],
  'redirect to ftp': [redirect('ftp://127.0.0.1/'), /302/],
  'redirect to another server': [{ http: (socket) => socket.end(`HTTP/1.1 307 x\r\nLocation: ${elsewhere.url}/\r\nContent-Length: 0\r\n\r\n`) }, /307/],
  'redirect without end': [{ http: (socket) => socket.end(`HTTP/1.1 301 x\r\nLocation: /rtc\r\nContent-Length: 0\r\n\r\n`) }, /301/],
  'endless body': [{ http: (socket) => pour(socket, (i) => (i ? 'x'.repeat(4096) : 'HTTP/1.1 500 Oh\r\nContent-Length: 999999999\r\n\r\n')) }, /HTTP 500/],
  'body that is no text': [status_('403 No', Buffer.from([0x6e, 0x6f, 0xff, 0xfe, 0x1b, 0x5b, 0x33, 0x31, 0x6d, 0x0a, 0xe2, 0x82])), /HTTP 403: no\?\?\?\[31m/],
  'wrong accept': [{ http: (socket) => socket.write('HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n') }, /cannot connect|handshake is wrong/],
  'no http': [{ http: (socket) => socket.end('220 mail.example ESMTP\r\n') }, /cannot connect/],
  'giant message': [{ ws: (socket) => pour(socket, (i) => (i < 160 ? (i ? Buffer.alloc(65536) : frame(Buffer.alloc(65536), { declared: 10 << 20 })) : null)) }, /message of more than 2097152 bytes/],
  'giant length': [{ ws: (socket) => pour(socket, (i) => (i ? Buffer.alloc(65536) : frame(Buffer.alloc(1), { declared: 2n ** 62n }))) }, /message of more than|lost|closed/],
  'endless fragments': [{ ws: (socket) => pour(socket, (i) => frame(Buffer.alloc(4096), { opcode: i ? 0 : 2, final: false })) }, /message of more than 2097152 bytes/],
  'endless trickle': [{ ws: (socket) => { socket.write(frame(Buffer.alloc(0), { declared: 1 << 20 })); drip(socket, Buffer.alloc(1000), 20); } }, late],
  'empty messages': [{ ws: (socket) => pour(socket, () => frame(Buffer.alloc(0))) }, /sends more than can be handled/],
  'text messages': [{ ws: (socket) => pour(socket, () => frame(Buffer.from('x'), { opcode: 1 })) }, /sends more than can be handled/],
  'pings': [{ ws: async (socket) => { for (; !socket.destroyed; await sleep(5)) socket.write(frame(Buffer.alloc(125), { opcode: 9 })); } }, /did not answer the join in time|connection lost/],
  'garbage': [{ ws: async (socket) => { for (let i = 0; !socket.destroyed; i++, await sleep(5)) socket.write(frame(Buffer.from(Array.from({ length: 200 }, (_, k) => (i * 31 + k * 17 + (k * k * i)) & 255)))); } }, late],
  'deep nesting': [{ ws: (socket) => socket.write(frame(Buffer.alloc(1 << 20, 0x0b))) }, late], // groups, each inside the last
  'unfolding': [{ ws: (socket) => socket.write(frame(Buffer.concat([Buffer.from([0x2a, 0xfe, 0xff, 0x7f]), Buffer.alloc((1 << 21) - 2 - 8).fill(Buffer.from([0x0a, 0x00]))]).subarray(0, (1 << 21) - 8))) }, late],
  'words that are no text': [{ ws: (socket) => socket.write(frame(Buffer.from([0x0f, 0xa0, 0x62, 0x79, 0x65, 0x20, 0xff, 0xfe]), { opcode: 8 })) }, /4000 bye \?\?|connection ended/],
  'no description': [answering(() => 'hello'), /not SDP/],
  'description without credentials': [answering(() => 'v=0\r\n'), /no ICE credentials/],
  'too many sections': [answering(() => 'v=0\r\n' + 'm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n'.repeat(20000)), /too many media sections/],
  'one endless line': [answering(() => 'v=0\r\na=' + 'x'.repeat(1 << 20)), /no ICE credentials/],
  'hash of another length': [answering(() => `v=0\r\n${good.replace(/sha-256 .*/, 'sha-256 AB:CD')}`), /no SHA-256 fingerprint/],
  'candidates of the whole world': [answering(() => `v=0\r\n${good}${Array.from({ length: 20000 }, (_, i) => `a=${candidate(i)}\r\n`).join('')}`), /media path|transport|ICE|connect/i],
  'endless candidates': [after_join(async (socket) => { for (let i = 0; !socket.destroyed; i++, await sleep(2)) socket.write(frame(message({ trickle: { candidateInit: JSON.stringify({ candidate: candidate(i) }) } }))); }), /./],
  'candidates that are no JSON': [after_join(async (socket) => { for (let i = 0; !socket.destroyed; i++, await sleep(2)) socket.write(frame(message({ trickle: { candidateInit: '['.repeat(i % 4000) } }))); }), /./],
  'one join after the other': [{ ws: async (socket) => { for (; !socket.destroyed; await sleep(2)) socket.write(frame(message(JOIN))); } }, /./],
  'a crowd': [after_join(async (socket) => { for (let i = 0; i < 20 && !socket.destroyed; i++, await sleep(50)) socket.write(frame(message({ update: { participants: Array.from({ length: 2000 }, (_, k) => ({ sid: `PA_${i}_${k}`, identity: `who${k}`, state: 2 })) } }))); }), /./],
  'two connections': [{ ws: (socket) => socket.write(frame(message({ join: { ...JOIN.join, subscriberPrimary: true } }))) }, /two PeerConnections/],
};

async function refused(guest, server, pattern, what) {
  const began = performance.now();
  const answer = await guest.join({ at: server.url });
  const ms = performance.now() - began;
  assert.equal(answer.success, false, what);
  assert.match(answer.error, pattern, `${what}: ${answer.error}`);
  assert.doesNotMatch(answer.error, /eyJ|[\x00-\x08\x0b-\x1f\x7f\ufffd]/, `${what}: ${JSON.stringify(answer.error)}`);
  assert.ok(answer.error.length < 700 && ms < 11500, `${what}: ${answer.error.length} characters after ${ms} ms`);
  return `${what}: ${Math.round(ms)} ms, "${answer.error.slice(0, 120)}"`;
}

test('every hostile server is refused in time, by name, within bounds', async () => {
  const fdsBefore = fds(), before = rss();
  let peak = before, running = true;
  const watch = (async () => { for (; running; await sleep(100)) peak = Math.max(peak, rss()); })();
  const names = Object.keys(servers);
  const lines = [], broken = [];
  // Some at a time, since the servers share this program with the phone.
  const next = async () => {
    for (let name; (name = names.shift()); ) {
      const [behaviour, pattern] = servers[name], server = await serve(host, behaviour), guest = newUser('guest');
      await refused(guest, server, pattern, name).then((line) => lines.push(line), (error) => broken.push(error.message));
      server.close();
      guest.close();
    }
  };
  await Promise.all(Array.from({ length: 8 }, next));
  running = false;
  await watch;
  console.log(lines.join('\n'));
  assert.deepEqual(broken, []);
  assert.equal(elsewhere.connections, 0, 'nobody follows a redirect');
  console.log(`memory ${before >> 10} MiB, at most ${peak >> 10}, then ${rss() >> 10}; control was away for ${(await status()).control_lag_max_us} us at most`);
  assert.ok(peak < before + 96 * 1024, `${before} KiB, then ${peak}`);
  await nothingLost('hostile servers');
  await until('descriptors to settle', () => fds() <= fdsBefore + 2);
});

test('certificates that do not match', async () => {
  const guest = newUser('guest');
  for (const name of ['somebody.else', host]) {
    const server = await serve(host, {}, certificate(name));
    console.log(await refused(guest, server, /certificate|self.signed|verify/i, `a certificate of ${name}`));
    server.close();
  }
  guest.close();
});

test('a session outlives its own user\'s hostile joins', async () => {
  for (const name of ['redirect to http', 'giant message', 'too many sections', 'empty messages', 'two connections']) {
    const [behaviour, pattern] = servers[name], server = await serve(host, behaviour);
    await refused(user, server, pattern, name);
    server.close();
    assert.equal((await user.cloud.getStatus(user.id)).connected, true, name);
    await nothingLost(name);
  }
});
