// outage.mjs - networks that are cut and processes that are killed.
import { spawn } from 'node:child_process';
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
