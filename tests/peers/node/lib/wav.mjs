// wav.mjs - 16-bit mono WAV files in and out.
import { readFileSync, writeFileSync } from 'node:fs';

export function readWav(file) {
  const data = readFileSync(file);
  let at = 12, rate = 16000;
  while (at + 8 <= data.length) {
    const id = data.toString('latin1', at, at + 4), size = data.readUInt32LE(at + 4);
    if (id === 'fmt ') rate = data.readUInt32LE(at + 12);
    if (id === 'data') {
      const bytes = data.subarray(at + 8, Math.min(at + 8 + size, data.length));
      return { rate, pcm: new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + (bytes.length & ~1))) };
    }
    at += 8 + size + (size & 1);
  }
  throw new Error(`${file}: no data chunk`);
}

export function wavBytes(pcm, rate = 16000) {
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(36 + pcm.length * 2, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(rate, 24);
  head.writeUInt32LE(rate * 2, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(pcm.length * 2, 40);
  return Buffer.concat([head, Buffer.from(pcm.buffer, pcm.byteOffset, pcm.byteLength)]);
}

export const writeWav = (file, pcm, rate) => writeFileSync(file, wavBytes(pcm, rate));

// 16 kHz to 48 kHz: linear between neighbours is enough for speech that Opus codes anyway.
export function upsample3(pcm) {
  const out = new Int16Array(pcm.length * 3);
  for (let i = 0; i < pcm.length; i++) {
    const next = i + 1 < pcm.length ? pcm[i + 1] : pcm[i];
    out[i * 3] = pcm[i];
    out[i * 3 + 1] = Math.round((pcm[i] * 2 + next) / 3);
    out[i * 3 + 2] = Math.round((pcm[i] + next * 2) / 3);
  }
  return out;
}
