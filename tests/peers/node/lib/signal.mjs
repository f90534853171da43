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

// The share of blocks of 20 ms that carry the pitch that was spoken there: how well a damaged tone sequence can be read. Where in the
// sequence each second lies is found by the best match, so that a phone that paused is no damage.
export function rightPitches(pcm) {
  const heard = [], per = STEP_MS / 20;
  for (let at = 0; at + CELL <= pcm.length; at += CELL) heard.push(pitchOf(pcm.subarray(at, at + CELL)));
  let right = 0;
  for (let from = 0; from < heard.length; from += 50) {
    const second = heard.slice(from, from + 50);
    let best = 0;
    for (let first = 0; first < 64 * per; first++)
      best = Math.max(best, second.filter((pitch, i) => pitch === stepPitch(Math.floor((first + i) / per))).length);
    right += best;
  }
  return right / heard.length;
}
