// injector.mjs - the network between server and relayd loses, repeats, delays and reorders media (tests/support/injector.c).
import net from 'node:net';

// One line to the injector; its counters since the last disturbance began.
function tell(line) {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = net.connect(process.env.INJECTOR, () => socket.write(`${line}\n`));
    socket.setEncoding('utf8');
    socket.on('data', (part) => (text += part));
    socket.on('error', reject);
    socket.on('end', () => resolve(JSON.parse(text)));
  });
}

// From now on as the words say ({ loss: 10, burst: 4, seed: 7 }; {}: undisturbed); answers what was counted until now.
export const disturb = (words) => tell(['set', ...Object.entries(words).map(([name, value]) => `${name}=${value}`)].join(' '));
export const counted = () => tell('get');

// A table of equal rows for people.
export function table(rows) {
  const names = Object.keys(rows[0]), width = names.map((name) => Math.max(name.length, ...rows.map((row) => `${row[name]}`.length)));
  const line = (cells) => cells.map((cell, i) => `${cell}`.padStart(width[i])).join('  ');
  return [line(names), ...rows.map((row) => line(names.map((name) => row[name])))].join('\n');
}

// The change of every number from one state to a later one.
export const change = (before, after) => Object.fromEntries(Object.entries(after)
  .filter(([, value]) => typeof value === 'number').map(([name, value]) => [name, value - before[name]]));
