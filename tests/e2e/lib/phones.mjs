// phones.mjs - many phones: spread over processes of their own, used as if each were here.
import { execFileSync, fork, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { toneLoop } from '../../peers/node/lib/signal.mjs';
import { writeWav } from '../../peers/node/lib/wav.mjs';
import { token, url } from './world.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const program = path.join(root, 'tests/peers/node/phones.mjs'), lightProgram = path.join(root, 'build/peers/phones');

// A process that is told steps and answers them; send and onAnswer are how the two talk.
function host(child, send, onAnswer, close) {
  const waiting = new Map();
  let next = 0;
  onAnswer(({ id, error, ...answer }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(new Error(error));
    else resolve(answer);
  });
  child.on('exit', (code) => waiting.forEach(({ reject }) => reject(new Error(`the phones' process ended with ${code}`))));
  return {
    call: (phone, verb, ...args) => new Promise((resolve, reject) => {
      waiting.set(++next, { resolve, reject });
      send({ id: next, phone, verb, args });
    }),
    close,
    kill: () => new Promise((done) => {
      child.removeAllListeners('exit');
      child.on('exit', done);
      child.kill('SIGKILL');
    }),
  };
}

function nodeHost() {
  const child = fork(program);
  return host(child, (step) => child.send(step), (listener) => child.on('message', listener), () => child.disconnect());
}

function lightHost() {
  const child = spawn(lightProgram, { stdio: ['pipe', 'pipe', 'inherit'] });
  return host(child, (step) => child.stdin.write(`${JSON.stringify(step)}\n`),
    (listener) => createInterface(child.stdout).on('line', (line) => listener(JSON.parse(line))), () => child.stdin.end());
}

// The loop of tones as packets of Opus, twice over: what comes first holds the encoder's start.
function encodedTones(folder) {
  const tones = toneLoop(), twice = new Int16Array(tones.length * 2), wav = path.join(folder, 'tones.wav'), ogg = path.join(folder, 'tones.opus');
  twice.set(tones);
  twice.set(tones, tones.length);
  writeWav(wav, twice, 48000);
  execFileSync('opusenc', ['--quiet', '--bitrate', '32', '--framesize', '20', '--max-delay', '20', wav, ogg]);
  return ogg;
}

function spread(hosts, tones, close) {
  let turn = 0;
  return {
    async phone(identity) {
      const { call } = hosts[turn++ % hosts.length];
      const phone = { identity, dataFrame: 0 };
      const step = (verb, ...args) => call(identity, verb, ...args);
      // Speaks tones, or frames numbered from dataFrame on, until speaking.stop is set.
      const speak = (verb, what) => async (_samples, speaking) => {
        const watch = setInterval(() => {
          if (!speaking.stop) return;
          clearInterval(watch);
          step('stop');
        }, 20);
        phone.dataFrame = (await step(verb, what ?? phone.dataFrame)).dataFrame;
      };
      Object.assign(phone, {
        publish: () => step('publish'), speakWav: (...args) => step('speakWav', ...args), speakTrack: speak('speakTrack', tones), speakData: speak('speakData'), leave: () => step('leave'),
      });
      await step('join', url, await token(identity, identity));
      return phone;
    },
    close,
    kill: () => Promise.all(hosts.map((each) => each.kill())), // as a force-quit is: no goodbye
  };
}

// count processes; phone(identity) is a phone in the room of its name, in the next one of them.
export function phones(count) {
  const hosts = Array.from({ length: count }, nodeHost);
  return spread(hosts, '', () => hosts.forEach((each) => each.close()));
}

// Phones of the Go SDK, all in one process, that encode nothing: a tenth of the CPU each. They know no speakWav.
export function lightPhones() {
  const folder = mkdtempSync(path.join(tmpdir(), 'relay-tones-')), only = lightHost();
  return spread([only], encodedTones(folder), () => {
    only.close();
    rmSync(folder, { recursive: true });
  });
}
