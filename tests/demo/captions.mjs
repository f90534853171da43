// captions.mjs - the demo's captions: real speech by the real SDK, words in the terminal as they come; then the same once more while
// the phone is force-quit, the cloud killed, the socket to Soniox cut and the session swapped. At the end, word by word, what it cost.
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { newUser, session, sleep, status, until } from '../e2e/lib/world.mjs';
import { captionState, speech, startStandin, watchCaptions } from '../e2e/lib/captions.mjs';
import { program } from '../e2e/lib/outage.mjs';
import { phones } from '../e2e/lib/phones.mjs';
import { percentiles, swapsOf } from '../e2e/lib/swaps.mjs';
import { writeWav } from '../peers/node/lib/wav.mjs';
import { compare, errorRate, wordsOf } from './words.mjs';

const CELL_BYTES = 640, SENTENCES = 5, QUIT_MS = 5000, CLOUD_AWAY_MS = 5000;
const real = process.env.SONIOX_API_KEY !== undefined; // the service itself, in place of the stand-in
const voice = speech(SENTENCES), wav = path.join(process.env.DEMO_OUT, 'speech.wav');
writeWav(wav, voice.pcm);

// What LibriVox' readers read, from the same package as their voices.
function reference() {
  const file = execFileSync('dpkg', ['-L', 'pocketsphinx-testdata'], { encoding: 'utf8' }).split('\n').find((name) => /librivox\/transcription$/.test(name));
  return readFileSync(file, 'utf8').split('\n').slice(0, SENTENCES).map((line) => line.replace(/<\/?s>|\(.*\)/g, '').trim()).join(' ');
}

const dim = (text) => (process.stdout.isTTY ? `\x1b[2m${text}\x1b[0m` : text);
const strong = (text) => (process.stdout.isTTY ? `\x1b[1;33m${text}\x1b[0m` : text);
const note = (text) => console.log(`${process.stdout.isTTY ? '\r\x1b[K' : ''}         ${strong(`>> ${text}`)}`);

// How long after it was spoken the newest word of each caption was there.
function watchDelays(watch) {
  const delays = { interim: [], final: [] };
  watch.call.on('data', ({ segment }) => {
    if (!segment || segment.text === '') return;
    delays[segment.final ? 'final' : 'interim'].push(Date.now() - (segment.spoken_at_ms + segment.end_ms - segment.start_ms));
  });
  return delays;
}

// Every 20 ms that was spoken against what the clouds wrote down, sample for sample.
function frameAccount(files) {
  const spoken = Buffer.from(voice.pcm.buffer, voice.pcm.byteOffset, voice.pcm.byteLength), frames = spoken.length / CELL_BYTES;
  const cell = (buffer, n) => buffer.subarray(n * CELL_BYTES, (n + 1) * CELL_BYTES);
  const account = { spoken: frames, received: 0, missing: 0, wrong: 0 };
  let at = 0;
  for (const file of files) {
    const pcm = readFileSync(file);
    for (let n = 0; (n + 1) * CELL_BYTES <= pcm.length; n++) {
      let found = at;
      while (found < frames && !cell(spoken, found).equals(cell(pcm, n))) found++;
      if (found === frames) {
        account.wrong++;
        continue;
      }
      account.missing += found - at;
      account.received++;
      at = found + 1;
    }
  }
  account.missing += frames - at;
  return account;
}

async function run(disturbance) {
  const user = newUser('alice'), cloudIs = ['cloud.mjs', '--user', user.id, '--room', user.room, '--seconds', '600', '--pcm'];
  const heard = () => path.join(process.env.DEMO_OUT, `${user.id}-${++clouds}.pcm`), files = [];
  let clouds = 0;
  const startCloud = () => {
    files.push(heard());
    writeFileSync(files.at(-1), '');
    return program(...cloudIs, files.at(-1));
  };
  let others = phones(1), phone = await others.phone(user.id), cloud = startCloud();
  await until('the cloud to listen', async () => (await session(user.id).catch(() => null))?.stream.attached);
  await until('the data channel', async () => (await session(user.id)).transport.data_open);
  const watch = watchCaptions(user.id), delays = watchDelays(watch);
  const shown = spawn(process.env.RELAYCTL, ['--socket', process.env.RELAYCTL_SOCKET, 'captions', user.id], { stdio: ['ignore', 'inherit', 'inherit'] });
  const world = {
    user,
    killCloud: () => cloud.kill(),
    startCloud: () => { cloud = startCloud(); },
    async quitPhone() {
      await others.kill();
      await sleep(QUIT_MS);
      others = phones(1);
      phone = await others.phone(user.id);
      await until('the data channel', async () => (await session(user.id)).transport.data_open);
    },
  };
  const disturbing = [];
  for (let n = 0; n < SENTENCES; n++) {
    const from = n === 0 ? 0 : voice.ends[n - 1] + 1200, pause = voice.ends[n] + 600;
    disturbing.push(disturbance.during?.[n]?.(world)); // while the sentence is spoken
    await phone.speakWav(wav, from, pause);
    await disturbance.after?.[n]?.(world); // in the pause behind it
    await phone.speakWav(wav, pause, pause + 600);
  }
  await Promise.all(disturbing);
  await until('all audio to be heard', async () => (await captionState(user.id)).final_ms >= voice.ms - 1200, 30000).catch(() => {});
  const seen = { caption: await captionState(user.id), source: (await session(user.id)).source, swaps: await swapsOf(user.id), grpc: (await status()).grpc };
  await user.leave();
  await watch.ended;
  await new Promise((done) => { shown.on('exit', done); setTimeout(() => shown.kill(), 2000); });
  await cloud.kill();
  others.close();
  user.close();
  return { ...seen, text: watch.text(), delays, frames: frameAccount(files) };
}

const disturbances = {
  after: {
    async 0({ user }) {
      note('the socket to Soniox is cut (TCP reset)');
      cut();
      await until('relayd to be there again', async () => (await captionState(user.id)).reconnects >= 1);
    },
    async 3({ quitPhone }) {
      note('the phone is force-quit; it is back in 5 s');
      await quitPhone();
      note('the phone is back');
    },
  },
  during: {
    async 1({ user }) {
      await sleep(800);
      await user.mustJoin();
      note('the session is swapped in mid word: JoinRoom by the same identity (a resume)');
      await sleep(700);
      await user.mustJoin({ identity: `cloud-b:${user.id}` });
      note('and by another one (make before break)');
    },
    async 2({ killCloud, startCloud }) {
      await sleep(700);
      await killCloud();
      note('the cloud is killed (SIGKILL); it is started again in 5 s');
      await sleep(CLOUD_AWAY_MS);
      startCloud();
      note('the cloud is back');
    },
  },
};

const standin = real ? undefined : await startStandin('sphinx');
function cut() {
  if (real) process.kill(Number(process.env.OUTSIDE_PID), 'SIGHUP');
  else standin.fault({ fault: 'reset', connection: standin.log().connections.findLast((connection) => !connection.ended).id });
}

console.log(`\n${real ? 'Soniox hears' : 'PocketSphinx hears, behind a stand-in that speaks Soniox\' protocol'}. Undisturbed:\n`);
const plain = await run({});
console.log('\nThe same once more, disturbed:\n');
const disturbed = await run(disturbances);
standin?.stop();

const { lost, doubled } = compare(plain.text, disturbed.text), percent = (rate) => `${(100 * rate).toFixed(1)} %`;
const swaps = disturbed.swaps.reduce((sum, swap) => ({ lost: sum.lost + swap.frames_lost, doubled: sum.doubled + swap.frames_doubled }), { lost: 0, doubled: 0 });
const said = reference();
console.log(`\n  reference    ${said}\n  undisturbed  ${plain.text}\n  disturbed    ${disturbed.text}\n`);
console.log(`  word error rate         undisturbed ${percent(errorRate(said, plain.text))}, disturbed ${percent(errorRate(said, disturbed.text))} ${dim('(the recogniser\'s)')}`);
console.log(`  words of ${wordsOf(plain.text).length}             ${lost} lost, ${doubled} doubled by the disturbances`);
console.log(`  audio to Soniox         ${disturbed.caption.sent_ms} ms sent, ${disturbed.caption.lost_ms} ms lost, ${disturbed.caption.replayed_ms} ms sent again over ${disturbed.caption.connections} connections`);
for (const [what, { frames }] of [['undisturbed', plain], ['disturbed', disturbed]])
  console.log(`  frames, ${what.padEnd(14)}  ${frames.spoken} spoken, ${frames.received} at the cloud sample for sample, ${frames.missing} missing, ${frames.wrong} double or out of order`);
console.log(`  swaps                   ${disturbed.swaps.length}: ${swaps.lost} frames lost, ${swaps.doubled} doubled; ${disturbed.grpc.frames_in_flight_lost} frames in flight to the cloud when it was killed`);
for (const [kind, what] of [['interim', 'spoken to first shown'], ['final', 'spoken to final']]) {
  const p = percentiles([...plain.delays[kind], ...disturbed.delays[kind]]);
  console.log(`  ${what.padEnd(22)}  p50 ${p.p50} ms, p99 ${p.p99} ms`);
}
// What the killed cloud had in its socket and had not read is gone with it; nothing else is.
const unread = disturbed.grpc.frames_in_flight_lost + 3;
const good = plain.frames.missing + plain.frames.wrong + disturbed.frames.wrong === 0 && disturbed.frames.missing <= unread &&
  plain.source.data_lost + disturbed.source.data_lost === 0 && swaps.lost + swaps.doubled === 0 && disturbed.caption.lost_ms === 0 && (real || lost + doubled === 0);
if (!good) console.log('\ndemo: something was lost or doubled');
process.exit(good ? 0 : 1);
