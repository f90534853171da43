// captions.mjs - Soniox' stand-in beside relayd, transcripts as a cloud watches them, and speech to be recognised.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { readWav } from '../../peers/node/lib/wav.mjs';
import { numberedCells } from '../../soniox/lib/numbered.mjs';
import { until } from './world.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const require = createRequire(path.join(here, '../../peers/node/lib/'));
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const definition = loader.loadSync(path.resolve(here, '../../../proto/relay/v1/transcripts.proto'), {
  keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true });
const { Transcripts } = grpc.loadPackageDefinition(definition).relay.v1;

const [testbed, ...testbedArgs] = process.env.TESTBED.split(' ');

// The stand-in in relayd's network; relayd's folder or build/dev has it.
export async function startStandin(recogniser) {
  const folders = [path.dirname(process.env.RELAYD ?? ''), 'build/release', 'build/dev'];
  const program = process.env.SONIOX_STANDIN ?? folders.map((f) => `${f}/soniox-standin`).find(existsSync);
  if (!program) throw new Error('soniox-standin is not built');
  const child = spawn(testbed, [...testbedArgs, 'exec', 'relayd', program, '--recogniser', recogniser, '--port', '43465',
    '--control-port', '43466'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (data) => (out += data));
  await until('the stand-in', () => out.includes('listening'), 20000);
  const control = (method, verb, body) => {
    const text = execFileSync(testbed, [...testbedArgs, 'exec', 'relayd', 'curl', '-sS', '-m', '20', '-X', method,
      ...(body === undefined ? [] : ['-d', JSON.stringify(body)]), `http://127.0.0.1:43466/control/${verb}`], { encoding: 'utf8' });
    return text.trim() === '' ? {} : JSON.parse(text);
  };
  return {
    fault: (fault) => control('POST', 'faults', fault),
    log: (connection) => control('GET', connection === undefined ? 'log' : `log?connection=${connection}`),
    units: (connection) => control('GET', `log?connection=${connection}&units=1`).connections[0].units, // 20 ms cells, heard or not
    settings: (settings) => control('POST', 'settings', settings),
    keys: (keys) => control('POST', 'keys', keys),
    reset: () => control('POST', 'reset', {}),
    stop: () => child.kill('SIGTERM'),
  };
}

const client = new Transcripts(process.env.BRIDGE_ADDR, grpc.credentials.createInsecure());
export const transcripts = (method, request) =>
  new Promise((resolve, reject) => client[method](request, (error, answer) => (error ? reject(error) : resolve(answer))));
export const transcribe = (user_id, options = {}) => transcripts('Transcribe', { user_id, ...options });
export const captionState = (user_id) => transcripts('GetTranscribeState', { user_id });

// Follows a user's transcript: finals in order, the newest interim, how the call ended.
export function watchCaptions(user_id, from_seq = 1, epoch = 0) {
  const watch = { finals: [], interims: 0, interim: '', epoch: 0, complete: undefined, at: [] };
  watch.call = client.Watch({ user_id, from_seq, epoch });
  watch.ended = new Promise((done) => {
    watch.call.on('error', (error) => done(error));
    watch.call.on('end', () => done({ code: 0 }));
  });
  watch.call.on('data', ({ begin, segment }) => {
    if (begin) Object.assign(watch, { epoch: begin.epoch, complete: begin.complete });
    else if (segment.final) {
      watch.finals.push(segment);
      watch.at.push(Date.now());
    } else {
      watch.interims++;
      watch.interim = segment.text;
    }
  });
  watch.text = () => watch.finals.map((segment) => segment.text).join(' ').replace(/\s+/g, ' ').trim();
  return watch;
}

// LibriVox sentences of Debian's pocketsphinx-testdata with their references, and a pause behind each.
export function speech(count = 5, pauseMs = 1200) {
  const listed = execFileSync('dpkg', ['-L', 'pocketsphinx-testdata'], { encoding: 'utf8' }).split('\n');
  const files = listed.filter((file) => /librivox.*\.wav$/.test(file)).sort().slice(0, count);
  if (files.length === 0) throw new Error('pocketsphinx-testdata has no LibriVox files');
  const parts = files.map((file) => readWav(file).pcm), pause = pauseMs * 16;
  const cell = (n) => Math.ceil(n / 320) * 320;
  const pcm = new Int16Array(parts.reduce((sum, part) => sum + cell(part.length) + pause, 0));
  const ends = [];
  let at = 0;
  for (const part of parts) {
    pcm.set(part, at);
    at += cell(part.length);
    ends.push(at / 16); // ms, where the pause begins
    at += pause;
  }
  return { pcm, ends, ms: pcm.length / 16 };
}

// Numbered speech for the scripted recogniser, a word each 20 ms, and what it must become.
export function numberedPcm(first, last) {
  const cells = numberedCells(first, last);
  return new Int16Array(cells.buffer, cells.byteOffset, cells.length / 2);
}
export const wordsOf = (first, last) => Array.from({ length: last - first + 1 }, (_, i) => `n${first + i}`).join(' ');
// The connections of the user whose cells begin with first: what relayd tells Soniox does not say whose a connection is, so each user
// has a thousand numbers of its own.
export const connectionsOf = (standin, first) => standin.log().connections.filter(({ received }) =>
  received.numbers.some(([from]) => from >= first && from < first + 1000));
