// frames.mjs - the demo's frames: what was spoken, as a track and as data packets, against what a gRPC client received.
import { execFileSync } from 'node:child_process';
import { readWav, upsample3, writeWav } from '../peers/node/lib/wav.mjs';
import { CELL } from '../peers/node/lib/signal.mjs';
import { newUser, samplesOf, session, until } from '../e2e/lib/world.mjs';

// Speech that went through Opus correlates with itself by 0.75 or more.
const LIKE = 0.6;

// Debian's pocketsphinx-testdata: LibriVox sentences, 16 kHz.
function speech() {
  const files = execFileSync('dpkg', ['-L', 'pocketsphinx-testdata'], { encoding: 'utf8' }).split('\n')
    .filter((file) => /librivox.*\.wav$/.test(file)).sort();
  if (files.length === 0) throw new Error('pocketsphinx-testdata has no LibriVox files');
  const parts = files.map((file) => readWav(file).pcm);
  const all = new Int16Array(Math.ceil(parts.reduce((sum, part) => sum + part.length, 0) / CELL) * CELL);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

// Best correlation of a second of speech with what was heard between two places: [correlation, place].
function bestMatch(spoken, heard, from, to) {
  let best = [0, from];
  for (let at = from; at <= to; at++) {
    let ab = 0, aa = 0, bb = 0;
    for (let i = 0; i < spoken.length; i += 4) {
      const a = spoken[i], b = heard[at + i] ?? 0;
      ab += a * b;
      aa += a * a;
      bb += b * b;
    }
    if (aa > 0 && bb > 0 && ab / Math.sqrt(aa * bb) > best[0]) best = [ab / Math.sqrt(aa * bb), at];
  }
  return best;
}

// A phone that was short of CPU lets a frame of silence slip in: the second around it, cut in two at the place that fits best, with
// what comes after it later by as much. [correlation, where the second would have begun].
function matchAroundPause(pcm, at, heard, place) {
  const [, next] = bestMatch(pcm.subarray(at + 16000, at + 32000), heard, place + 16000, place + 16000 + 32000);
  const later = next - (place + 16000);
  let best = 0;
  for (let cut = 0; cut <= 16000; cut += CELL) {
    let ab = 0, aa = 0, bb = 0;
    for (let i = 0; i < 16000; i += 4) {
      const a = pcm[at + i], b = heard[place + i + (i < cut ? 0 : later)] ?? 0;
      ab += a * b;
      aa += a * a;
      bb += b * b;
    }
    best = Math.max(best, aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : 0);
  }
  return [best, place + later];
}

// Where the first loud second of speech begins in what was heard.
function alignment(spoken, heard) {
  let best = [0, 0];
  for (let shift = 0; shift < 48000; shift += 2) {
    let ab = 0, bb = 1;
    for (let i = 0; i < 16000; i += 8) {
      ab += spoken[i] * (heard[shift + i] ?? 0);
      bb += (heard[shift + i] ?? 0) ** 2;
    }
    const score = ab / Math.sqrt(bb);
    if (score > best[0]) best = [score, shift];
  }
  return best[1];
}

function row(way, spoken, received, lost, disorder, note) {
  console.log(`  ${way.padEnd(8)} ${String(spoken).padStart(8)} ${String(received).padStart(9)} ${String(lost).padStart(6)} ${String(disorder).padStart(13)}   ${note}`);
}

async function trackWay(pcm) {
  const user = newUser('demo'), phone = await user.phone();
  await phone.publish();
  await user.mustJoin();
  const stream = user.stream();
  // Silence around the speech: the encoder settles before it, and its delay does not cut the end off.
  const quiet = 8000, padded = new Int16Array(pcm.length + 2 * quiet);
  padded.set(pcm, quiet);
  await phone.speakTrack(upsample3(padded));
  await until('the speech', () => stream.bytes >= padded.length * 2, 3000).catch(() => {});
  const seen = await session(user.id), heard = samplesOf(stream);
  const offset = alignment(pcm, heard);
  // Second after second must be found, each where the one before it ended or later: a phone that stalls pauses, and that is no
  // loss; speech that comes too early means that some before it is missing.
  let seconds = 0, missing = 0, worst = 1, place = offset;
  for (let at = 0; at + 16000 <= pcm.length; at += 16000, place += 16000) {
    const second = pcm.subarray(at, at + 16000);
    let match = bestMatch(second, heard, place - CELL / 2, place + CELL / 2);
    if (match[0] < LIKE) match = bestMatch(second, heard, place - CELL / 2, place + 32000);
    if (match[0] < LIKE && at + 32000 <= pcm.length) match = matchAroundPause(pcm, at, heard, place);
    if (match[0] < LIKE) missing++;
    else place = match[1];
    worst = Math.min(worst, match[0]);
    seconds++;
  }
  writeWav(`${process.env.DEMO_OUT}/track.wav`, heard);
  const received = Math.floor((heard.length - offset) / CELL), spoken = pcm.length / CELL;
  const lost = seen.source.lost + seen.source.concealed + Math.max(0, spoken - received);
  row('track', spoken, Math.min(received, spoken), lost, seen.source.late + seen.source.reordered,
    `RTP numbering without a hole; ${seconds} s compared, lowest correlation ${worst.toFixed(2)}`);
  await user.leave();
  await phone.leave();
  return lost === 0 && missing === 0;
}

async function dataWay(pcm) {
  const user = newUser('demo'), phone = await user.phone();
  await user.mustJoin();
  const stream = user.stream();
  await until('the data channel', async () => (await session(user.id)).transport.data_open);
  await phone.speakDataPcm(pcm);
  await until('the speech', () => stream.bytes >= pcm.length * 2, 10000).catch(() => {});
  const seen = await session(user.id), heard = samplesOf(stream);
  let same = heard.length === pcm.length;
  for (let i = 0; same && i < pcm.length; i++) same = heard[i] === pcm[i];
  writeWav(`${process.env.DEMO_OUT}/data.wav`, heard);
  row('data', pcm.length / CELL, heard.length / CELL, seen.source.data_lost, seen.source.data_late + seen.source.data_reordered,
    same ? 'every sample as spoken' : 'samples differ');
  await user.leave();
  await phone.leave();
  return same && seen.source.data_lost === 0;
}

const pcm = speech();
console.log('\n  way        spoken  received   lost  order errors   (frames of 20 ms)');
const track = await trackWay(pcm), data = await dataWay(pcm);
process.exit(track && data ? 0 : 1);
