// hostile_server.mjs - signalling servers that mean no good: what each of them does is a function of the socket.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const protobuf = createRequire(path.join(here, '../../peers/node/lib/'))('protobufjs');
const root = protobuf.loadSync(path.resolve(here, '../../../proto/livekit/rtc.proto'));
export const SignalResponse = root.lookupType('livekit.SignalResponse'), SignalRequest = root.lookupType('livekit.SignalRequest');
export const message = (fields) => Buffer.from(SignalResponse.encode(SignalResponse.fromObject(fields)).finish());

export const JOIN = { join: { participant: { sid: 'PA_us', identity: 'us' }, room: { sid: 'RM', name: 'r' }, serverVersion: '1.13.5' } };

// Frames as a server sends them: not masked. declared: a length that is not the data's.
export function frame(data, { opcode = 2, final = true, declared = data.length } = {}) {
  const head = Buffer.alloc(10);
  head[0] = (final ? 0x80 : 0) | opcode;
  head[1] = 127;
  head.writeBigUInt64BE(BigInt(declared), 2);
  return Buffer.concat([head, data]);
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Writes what makes gives, as fast as it is taken, until the socket is closed.
export async function pour(socket, make) {
  for (let i = 0; !socket.destroyed; i++) {
    const piece = make(i);
    if (piece === null) return;
    if (!socket.write(piece)) await new Promise((done) => { socket.once('drain', done); socket.once('close', done); });
    else if (i % 64 === 0) await new Promise(setImmediate);
  }
}

export async function drip(socket, bytes, ms) {
  for (let i = 0; i < bytes.length && !socket.destroyed; i++) {
    socket.write(bytes.subarray(i, i + 1));
    await sleep(ms);
  }
}

const accepted = (request) => createHash('sha1').update(`${/sec-websocket-key: (\S+)/i.exec(request)?.[1]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
const upgrade = (request) => `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accepted(request)}\r\n\r\n`;

// The client's messages, unmasked; control frames are left out.
export function* requests(state) {
  for (;;) {
    const b = state.pending;
    if (b.length < 2) return;
    let length = b[1] & 127, at = 2;
    if (length === 126) { if (b.length < 4) return; length = b.readUInt16BE(2); at = 4; }
    if (length === 127) { if (b.length < 10) return; length = Number(b.readBigUInt64BE(2)); at = 10; }
    if (b.length < at + 4 + length) return;
    const data = Buffer.from(b.subarray(at + 4, at + 4 + length));
    for (let i = 0; i < length; i++) data[i] ^= b[at + (i & 3)];
    state.pending = b.subarray(at + 4 + length);
    if ((b[0] & 15) === 2) yield SignalRequest.decode(data);
  }
}

// A server at host that behaves: { http(socket, request) } before, { ws(socket, request) } after the upgrade, and
// { said(socket, request) } for each of the client's messages. Closed with close(); connections counts.
export async function serve(host, { http, ws, said }, secure = null) {
  const sockets = new Set(), server = { connections: 0 };
  const onSocket = (socket) => {
    const state = { pending: Buffer.alloc(0) };
    let head = '', open = false;
    server.connections++;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    socket.on('data', (data) => {
      if (!open) {
        head += data.toString('latin1');
        if (!head.includes('\r\n\r\n')) return;
        open = true;
        if (http) { http(socket, head); return; }
        socket.write(upgrade(head));
        ws?.(socket, head);
        return;
      }
      if (!said) return;
      state.pending = Buffer.concat([state.pending, data]);
      for (const request of requests(state)) said(socket, request);
    });
  };
  const listener = secure ? tls.createServer(secure, onSocket) : net.createServer(onSocket);
  listener.on('tlsClientError', () => {});
  await new Promise((done) => listener.listen(0, host, done));
  server.url = `${secure ? 'wss' : 'ws'}://${host}:${listener.address().port}`;
  server.close = () => {
    for (const socket of sockets) socket.destroy();
    listener.close();
  };
  return server;
}

// A certificate of its own making, for a name that is not asked for.
export function certificate(name) {
  const folder = mkdtempSync(path.join(tmpdir(), 'hostile-'));
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', `/CN=${name}`,
    '-addext', `subjectAltName=DNS:${name}`, '-keyout', `${folder}/key`, '-out', `${folder}/cert`], { stdio: 'ignore' });
  const pair = { key: readFileSync(`${folder}/key`), cert: readFileSync(`${folder}/cert`) };
  rmSync(folder, { recursive: true });
  return pair;
}
