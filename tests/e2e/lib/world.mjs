// world.mjs - what every end-to-end test needs: users, a phone and a cloud for them, relayd's own view, and no leaks.
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Phone } from '../../peers/node/lib/phone.mjs';
import { Cloud, samplesOf, until } from '../../peers/node/lib/cloud.mjs';
import { rooms, token } from '../../peers/node/lib/tokens.mjs';
import { CELL, STEP_MS, countOrder, frameNumber, pitchOf, stepPitch, toneLoop, toneSamples } from '../../peers/node/lib/signal.mjs';

export { Phone, Cloud, samplesOf, until, rooms, token, countOrder, toneLoop, toneSamples, assert };
const here = path.dirname(fileURLToPath(import.meta.url));
const require = createRequire(path.join(here, '../../peers/node/lib/'));
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

export const url = process.env.LIVEKIT_URL;
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const definition = loader.loadSync(path.resolve(here, '../../../proto/relay/v1/admin.proto'), {
  keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true });
const { Admin } = grpc.loadPackageDefinition(definition).relay.v1;
const admin = new Admin(`unix:${process.env.RELAYCTL_SOCKET}`, grpc.credentials.createInsecure());
export const ask = (method, request = {}) =>
  new Promise((resolve, reject) => admin[method](request, (error, answer) => (error ? reject(error) : resolve(answer))));
export const status = () => ask('GetStatus');
export const session = (user_id) => ask('GetSession', { user_id });
export const drops = async () => Object.fromEntries((await ask('ListDrops')).drops.map((d) => [d.name, d.count]));

export function testbed(...args) {
  const [command, ...rest] = process.env.TESTBED.split(' ');
  return execFileSync(command, [...rest, ...args], { encoding: 'utf8' });
}

let users = 0;
// A user with a room of its own; phone() and join() as production does them.
export function newUser(label = 'user') {
  const id = `${label}-${process.pid}-${++users}`;
  const user = {
    id, room: id, cloud: new Cloud(),
    async phone() {
      return new Phone(id).join(url, await token(id, id));
    },
    async join(options = {}) {
      const { identity = `cloud-agent:${id}`, room = id, target = id, jwt, at = url, call } = options;
      return user.cloud.joinRoom(id, room, jwt ?? (await token(identity, room)), at, target, call);
    },
    async mustJoin(options) {
      const answer = await user.join(options);
      assert.equal(answer.error, '');
      assert.equal(answer.success, true);
      return answer;
    },
    stream: () => user.cloud.streamAudio(id),
    leave: () => user.cloud.leaveRoom(id),
    close: () => user.cloud.close(),
  };
  return user;
}

// Numbers of the data frames in what a stream received; the byte stream must be whole cells of ours.
export function receivedNumbers(stream) {
  const pcm = samplesOf(stream), numbers = [];
  for (let at = 0; at + CELL <= pcm.length; at += CELL) numbers.push(frameNumber(pcm.subarray(at, at + CELL)));
  return numbers;
}

// The tone steps heard, in order: pitch of each STEP_MS of audio, read at a place where the pitch is settled.
export function heardSteps(pcm) {
  const block = (16000 * 20) / 1000, pitches = [];
  for (let at = 0; at + block <= pcm.length; at += block) pitches.push(pitchOf(pcm.subarray(at, at + block)));
  const steps = [];
  let run = 0;
  for (let i = 0; i < pitches.length; i++) {
    run = i > 0 && pitches[i] === pitches[i - 1] ? run + 1 : 1;
    if (run === 3 && pitches[i] >= 0) steps.push(pitches[i]); // a step is five blocks; three alike are one
  }
  return steps;
}

// Whether the heard pitches are the spoken sequence: in order, none twice. A phone that is short of CPU encodes a step so badly
// that its pitch cannot be read; one in twenty may be missing, never two in a row. (That no packet was lost is not shown by this
// but by the RTP numbering, which every test looks at as well.) No pitch comes again within five steps, so a frame that was
// doubled or out of order cannot pass for a missing one.
export function stepsInOrder(steps) {
  for (let first = 0; first < 64; first++) {
    let k = first, missing = 0;
    const fits = steps.every((pitch) => {
      if (pitch !== stepPitch(k) && pitch === stepPitch(k + 1)) {
        missing++;
        k++;
      }
      return pitch === stepPitch(k++);
    });
    if (fits && missing <= Math.max(1, steps.length / 20)) return true;
  }
  return false;
}
export { STEP_MS };

export const fds = () => readdirSync(`/proc/${process.env.RELAYD_PID}/fd`).length;
export const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${process.env.RELAYD_PID}/status`, 'utf8'))[1]);
export const logLines = () => readFileSync(process.env.RELAYD_LOG, 'utf8').split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));

// Packet buffers that lie in the port's own rings: none with af_packet, a ring full with af_xdp, which also keeps the last few sent.
const atStart = await status();
const heldByPort = atStart.mbufs.total - atStart.mbufs.free;

// Everything a finished test may have left behind is gone: sessions, transports, packet buffers.
export async function nothingLeft() {
  await until('relayd to be empty', async () => {
    const now = await status();
    const sessions = now.totals.slots - now.totals.lingering;
    return sessions === 0 && now.workers.every((worker) => worker.sessions === 0) && now.mbufs.total - now.mbufs.free <= (heldByPort && heldByPort + 32);
  }, 20000).catch(async (error) => {
    throw new Error(`${error.message}: ${JSON.stringify(await status())}`);
  });
}
