// outage.mjs - networks that are cut and processes that are killed.
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { testbed } from './world.mjs';

const number = new URL(process.env.LIVEKIT_URL).hostname.split('.')[2];
const here = path.dirname(fileURLToPath(import.meta.url));

// Every packet between the server and relayd (media and signalling), or its media alone, is dropped from now on.
export function cutRelayd({ media = false } = {}) {
  const relayd = media ? `10.99.${number}.2` : `{ 10.98.${number}.3, 10.99.${number}.2 }`;
  rules('sfu', [`chain o { type filter hook output priority 0; }`, `chain i { type filter hook input priority 0; }`],
    [`o ip daddr ${relayd} drop`, `i ip saddr ${relayd} drop`]);
}

// Every packet of the phones' place.
export function cutPhones() {
  rules('phones', [`chain o { type filter hook output priority 0; }`, `chain i { type filter hook input priority 0; }`],
    ['o oifname "eth0" drop', 'i iifname "eth0" drop']);
}

function rules(place, chains, drops) {
  testbed('exec', place, 'nft', 'add', 'table', 'inet', 'cut');
  for (const chain of chains) testbed('exec', place, 'nft', 'add', ...chain.replace('chain ', 'chain inet cut ').split(' '));
  for (const drop of drops) testbed('exec', place, 'nft', 'add', 'rule', 'inet', 'cut', ...drop.split(' '));
}

export const heal = (place) => testbed('exec', place, 'nft', 'delete', 'table', 'inet', 'cut');

// A second server beside the first one, on ports of its own; url is where it is.
export async function secondServer() {
  const folder = path.dirname(process.env.SFU_LOG), config = path.join(folder, 'livekit-2.yaml');
  writeFileSync(config, readFileSync(path.join(folder, 'livekit.yaml'), 'utf8').replace('port: 7880', 'port: 7890').replace('udp_port: 7882', 'udp_port: 7892'));
  const server = path.resolve(here, `../../../build/peers/livekit-server-${readFileSync(path.join(folder, 'sfu-version'), 'utf8').trim()}`);
  const [command, ...words] = process.env.SFU_EXEC.split(' ');
  const child = spawn(command, [...words, server, '--config', config], { stdio: 'ignore' });
  const url = process.env.LIVEKIT_URL.replace('7880', '7890');
  for (let tries = 0; ; tries++) {
    const up = await fetch(url.replace(/^ws/, 'http')).then((answer) => answer.ok, () => false);
    if (up) break;
    if (tries > 400) throw new Error('the second server does not come up');
    await new Promise((done) => setTimeout(done, 50));
  }
  return { url, stop: () => new Promise((done) => {
    child.on('exit', done);
    child.kill('SIGTERM');
    child.kill('SIGKILL');
  }) };
}

// A program of tests/peers/node in a process of its own; lines is what it has printed, each a JSON object.
export function program(name, ...args) {
  const child = spawn(process.execPath, [path.resolve(here, '../../peers/node', name), ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const running = { child, lines: [] };
  let rest = '';
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (text) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop();
    for (const part of parts) if (part.startsWith('{')) running.lines.push(JSON.parse(part));
  });
  running.ended = new Promise((resolve) => child.on('exit', resolve));
  running.kill = (signal = 'SIGKILL') => {
    child.kill(signal);
    return running.ended;
  };
  return running;
}
