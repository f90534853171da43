// signal.mjs - audio that says where it is: numbered PCM for the data way, stepped tones for the track.
export const RATE = 16000;
export const CELL = 320; // samples of 20 ms

// Frame n of the data way: every sample is a function of n and its place, so a received cell names its number exactly.
export function numberedFrame(n) {
  const pcm = new Int16Array(CELL);
  pcm[0] = (n & 0x7fff) | 0;
  pcm[1] = (n >> 15) & 0x7fff;
  for (let i = 2; i < CELL; i++) pcm[i] = ((n * 31 + i * 17) & 0x3fff) - 0x2000;
  return pcm;
}

// The number of a received cell, or -1 when it is not one of ours to the last sample.
export function frameNumber(pcm) {
  const n = pcm[0] + pcm[1] * 32768;
  if (n < 0) return -1;
  const expected = numberedFrame(n);
  for (let i = 0; i < CELL; i++) if (pcm[i] !== expected[i]) return -1;
  return n;
}

// lost, doubled and out of order in a list of numbers that should count from first to last.
export function countOrder(numbers) {
  const seen = new Set();
  let doubled = 0, disorder = 0, last = -1;
  for (const n of numbers) {
    if (seen.has(n)) doubled++;
    else if (n < last) disorder++;
    seen.add(n);
    last = Math.max(last, n);
  }
  const first = numbers.length ? Math.min(...seen) : 0;
  const lost = numbers.length ? last - first + 1 - seen.size : 0;
  return { received: numbers.length, first, last, lost, doubled, disorder };
}

// Tone of step k: one of eight pitches in an order in which no pitch repeats within five steps.
const PITCHES = [400, 560, 740, 940, 1160, 1400, 1660, 1940];
export const STEP_MS = 100;
export function stepPitch(k) {
  return (k * 3 + Math.floor(k / 8)) % PITCHES.length;
}

// Samples of a continuous tone sequence at any rate, phase unbroken.
export function* toneSamples(rate) {
  let phase = 0;
  for (let i = 0; ; i++) {
    const step = Math.floor((i * 1000) / rate / STEP_MS);
    phase += (2 * Math.PI * PITCHES[stepPitch(step)]) / rate;
    yield Math.round(8000 * Math.sin(phase));
  }
}

// The same for many phones in one program, made once: the sequence of pitches begins anew every 64 steps.
let table;
export function toneLoop() {
  if (!table) {
    const tone = toneSamples(48000);
    table = Int16Array.from({ length: (48000 * STEP_MS * 64) / 1000 }, () => tone.next().value);
  }
  return table;
}

// Which pitch a block of 16 kHz samples carries, -1 for none that stands out (Goertzel).
export function pitchOf(pcm) {
  let total = 0;
  for (const s of pcm) total += s * s;
  if (total / pcm.length < 100 * 100) return -1;
  const powers = PITCHES.map((f) => {
    const w = 2 * Math.cos((2 * Math.PI * f) / RATE);
    let a = 0, b = 0;
    for (const s of pcm) [a, b] = [w * a - b + s, a];
    return (a * a + b * b - w * a * b) / (pcm.length / 2) / total;
  });
  const best = powers.indexOf(Math.max(...powers));
  return powers[best] > 0.5 ? best : -1;
}

// cos and sin of each pitch over a block, and the inverse of their Gram matrix: what a least-squares fit of that tone needs.
const FITS = PITCHES.map((f) => {
  const cos = Float64Array.from({ length: CELL }, (_, i) => Math.cos((2 * Math.PI * f * i) / RATE));
  const sin = Float64Array.from({ length: CELL }, (_, i) => Math.sin((2 * Math.PI * f * i) / RATE));
  let cc = 0, ss = 0, cs = 0;
  for (let i = 0; i < CELL; i++) [cc, ss, cs] = [cc + cos[i] * cos[i], ss + sin[i] * sin[i], cs + cos[i] * sin[i]];
  const det = cc * ss - cs * cs;
  return { cos, sin, cc: cc / det, ss: ss / det, cs: cs / det };
});

// How far the tone of a pitch stands above all else in a block, in dB from -10 to 35. Level and phase are the block's own: a voice
// that is late by a sample is no damage, a jump of the phase within the block is.
export function toneSnr(pcm, pitch) {
  const { cos, sin, cc, ss, cs } = FITS[pitch];
  let total = 0, c = 0, s = 0;
  for (let i = 0; i < CELL; i++) [total, c, s] = [total + pcm[i] * pcm[i], c + pcm[i] * cos[i], s + pcm[i] * sin[i]];
  const tone = c * c * ss - 2 * c * s * cs + s * s * cc;
  return Math.min(35, Math.max(-10, 10 * Math.log10((tone + 1e-9) / Math.max(total - tone, 1e-9))));
}

// How well a damaged tone sequence can be read: the share of blocks of 20 ms that carry the pitch that was spoken there, and the
// segmental SNR, the mean of those blocks' toneSnr. Where in the sequence each second lies, and where a block of it begins, is found
// by the best match, so that a phone that paused is no damage.
export function toneQuality(pcm) {
  const per = STEP_MS / 20, shifts = Array.from({ length: 8 }, (_, i) => (i * CELL) / 8);
  let right = 0, snr = 0, count = 0;
  for (let from = 0; from + RATE <= pcm.length; from += RATE) {
    let best = { right: -1 };
    for (const shift of shifts) {
      const blocks = Array.from({ length: RATE / CELL - 1 }, (_, i) => pcm.subarray(from + shift + i * CELL, from + shift + (i + 1) * CELL));
      const heard = blocks.map(pitchOf);
      for (let first = 0; first < 64 * per; first++) {
        const spoken = blocks.map((_, i) => stepPitch(Math.floor((first + i) / per)));
        const matches = heard.filter((pitch, i) => pitch === spoken[i]).length;
        if (matches < best.right) continue;
        const level = blocks.reduce((sum, block, i) => sum + toneSnr(block, spoken[i]), 0);
        if (matches > best.right || level > best.snr) best = { right: matches, snr: level, count: blocks.length };
      }
    }
    right += best.right;
    snr += best.snr;
    count += best.count;
  }
  return { right: right / count, snr: snr / count };
}
