// standin.mjs - starts a stand-in, steers it, and talks to it with a bare WebSocket or with Soniox' SDK.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { once } from 'node:events';
import path from 'node:path';

export * from './numbered.mjs';

const root = path.resolve(import.meta.dirname, '../../..');
const require = createRequire(path.join(process.env.SONIOX_SDK ?? path.join(root, 'build/soniox/node'), 'package.json'));
export const WebSocket = require('ws');
globalThis.WebSocket = WebSocket; // the SDK takes the global one; Node has it from 22 on
export const { SonioxNodeClient } = require('@soniox/node');

export const KEY = 'standin-key';
export const START = { model: 'stt-rt-v5', audio_format: 'pcm_s16le', sample_rate: 16000, num_channels: 1 };
const PROGRAM = process.env.STANDIN ?? path.join(root, 'build/dev/soniox-standin');

export class Standin {
  static async start(...args) {
    const standin = new Standin();
    standin.tls = args.includes('--tls');
    standin.child = spawn(PROGRAM, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(standin.child, 'exit').then(([code]) => { throw new Error(`ended with ${code} before it listened`); });
    const [line] = await Promise.race([once(standin.child.stdout, 'data'), ended]);
    [, standin.port, standin.controlPort] = /listening (\d+) control (\d+)/.exec(line.toString());
    standin.url = `${standin.tls ? 'wss' : 'ws'}://127.0.0.1:${standin.port}/transcribe-websocket`;
    standin.rest = `${standin.tls ? 'https' : 'http'}://127.0.0.1:${standin.port}`;
    return standin;
  }

  // Ends it; its exit code must be 0, also under a sanitizer.
  async stop() {
    const exit = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    const [code, signal] = await exit;
    if (code !== 0) throw new Error(`soniox-standin ended with ${code ?? signal}`);
  }

  async control(method, what, body) {
    const answer = await fetch(`http://127.0.0.1:${this.controlPort}/control/${what}`,
      { method, body: body === undefined ? undefined : JSON.stringify(body) });
    const object = await answer.json();
    if (answer.status !== 200) throw new Error(`${method} ${what}: ${answer.status} ${JSON.stringify(object)}`);
    return object;
  }

  fault(fault) { return this.control('POST', 'faults', fault); }
  clock(clock) { return this.control('POST', 'clock', clock); }
  settings(settings) { return this.control('POST', 'settings', settings); }
  reset() { return this.control('POST', 'reset'); }

  // The newest connection, or the one with that id.
  async log(id) {
    const { connections } = await this.control('GET', id === undefined ? 'log' : `log?connection=${id}`);
    return connections.at(-1);
  }

  async wait(what) { return (await this.control('GET', `wait?limit_ms=20000&${new URLSearchParams(what)}`)).connections.at(-1); }

  client(apiKey = KEY) {
    return new SonioxNodeClient({ api_key: apiKey, base_url: this.rest, realtime: { ws_base_url: this.url } });
  }
}

// A connection without any help: every message and the close are kept as they came.
export class Bare {
  constructor(url, { headers = { Authorization: `Bearer ${KEY}` }, protocols = [], ...options } = {}) {
    this.messages = [];
    this.ws = new WebSocket(url, protocols, { headers, handshakeTimeout: 20000, perMessageDeflate: false, ...options });
    this.wakers = new Set();
    this.closed = new Promise((resolve) => {
      this.ws.on('close', (code) => { this.code = code; resolve(code); this.wake(); });
    });
    this.ws.on('message', (data, binary) => {
      this.messages.push(binary ? data : JSON.parse(data.toString()));
      this.wake();
    });
    this.ws.on('pong', () => { this.pongs = (this.pongs ?? 0) + 1; this.wake(); });
    this.ws.on('error', (error) => { this.error = error; });
    this.opened = new Promise((resolve, reject) => {
      this.ws.once('open', resolve);
      this.ws.once('error', reject);
    });
    this.opened.catch(() => {});
  }

  wake() { for (const waker of this.wakers) waker(); }

  async until(what, condition, limitMs = 20000) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${what} did not come: ${JSON.stringify(this.messages.at(-1))}`)), limitMs);
    });
    try {
      while (!condition()) {
        let waker;
        await Promise.race([new Promise((resolve) => { waker = resolve; this.wakers.add(waker); }), late]);
        this.wakers.delete(waker);
      }
    } finally { clearTimeout(timer); }
  }

  static async open(standin, start = START, options = {}) {
    const bare = new Bare(standin.url, options);
    await bare.opened;
    if (start !== null) bare.json(start);
    return bare;
  }

  json(object) { this.ws.send(JSON.stringify(object)); }
  text(text) { this.ws.send(text, { binary: false }); }
  audio(buffer, chunk = 3200) {
    for (let at = 0; at < buffer.length; at += chunk) this.ws.send(buffer.subarray(at, at + chunk));
  }

  get finals() { return this.messages.flatMap((m) => (m.tokens ?? []).filter((t) => t.is_final)); }
  get words() { return this.finals.filter((t) => !t.text.startsWith('<')).map((t) => t.text).join(''); }
  get last() { return this.messages.at(-1); }
  get errorFrame() { return this.messages.find((m) => 'error_code' in m); }
  end() { this.ws.terminate(); return this.closed; }
}

// ---- numbered audio: numbered.h, written a second time so that the two check each other

// ---- Ogg (RFC 3533), the smallest writer there is: a page a packet

const crcTable = Array.from({ length: 256 }, (_, i) => {
  let r = i << 24;
  for (let k = 0; k < 8; k++) r = r & 0x80000000 ? (r << 1) ^ 0x04c11db7 : r << 1;
  return r >>> 0;
});

function page(packet, { flags = 0, granule, sequence }) {
  const laces = [...Array(Math.floor(packet.length / 255)).fill(255), packet.length % 255];
  const head = Buffer.alloc(27 + laces.length);
  head.write('OggS');
  head[5] = flags;
  head.writeBigInt64LE(BigInt(granule), 6);
  head.writeUInt32LE(0x72656c61, 14);
  head.writeUInt32LE(sequence, 18);
  head[26] = laces.length;
  Buffer.from(laces).copy(head, 27);
  const whole = Buffer.concat([head, packet]);
  let crc = 0;
  for (const byte of whole) crc = ((crc << 8) ^ crcTable[(crc >>> 24) ^ byte]) >>> 0;
  whole.writeUInt32LE(crc, 22);
  return whole;
}

// Ogg/Opus (RFC 7845) of 20 ms packets. `skew` falsifies the granule positions from the third packet on.
export function oggOf(packets, { preSkip = 0, skew = 0 } = {}) {
  const head = Buffer.from('OpusHead\x01\x01\0\0\x80\xbb\0\0\0\0\0', 'latin1');
  head.writeUInt16LE(preSkip, 10);
  const tags = Buffer.from('OpusTags\x05\0\0\0relay\0\0\0\0', 'latin1');
  const pages = [page(head, { flags: 2, granule: 0, sequence: 0 }), page(tags, { granule: 0, sequence: 1 })];
  packets.forEach((packet, i) =>
    pages.push(page(packet, { granule: (i + 1) * 960 + (i >= 2 ? skew : 0), sequence: i + 2 })));
  return Buffer.concat(pages);
}
