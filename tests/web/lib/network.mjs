// network.mjs - what the network does to the demo: it goes away between a phone and the server, it loses packets before relayd.
import { testbed } from '../../e2e/lib/world.mjs';

const BLIP_MS = 3000;
const LOSSY_MS = 6000;
const number = new URL(process.env.LIVEKIT_URL).hostname.split('.')[2];
const phones = process.env.HOST_ADDR || process.env.PHONE_HOST;

const nft = (...words) => testbed('exec', 'sfu', 'nft', ...words);
const busy = new Map();

// For a while the server's place has this table with these rules.
function during(table, ms, hooks) {
  if (busy.has(table)) return false;
  nft('add', 'table', 'inet', table);
  for (const [hook, rule] of Object.entries(hooks)) {
    nft('add', 'chain', 'inet', table, hook, `{ type filter hook ${hook} priority 0; }`);
    nft('add', 'rule', 'inet', table, hook, ...rule.split(' '));
  }
  const end = () => {
    busy.delete(table);
    nft('delete', 'table', 'inet', table);
  };
  busy.set(table, { timer: setTimeout(end, ms), end });
  return true;
}

// Every packet between the browser and the server, signalling and media.
export const blip = () => during('blip', BLIP_MS, { input: `ip saddr ${phones} drop`, output: `ip daddr ${phones} drop` });

// Every tenth media packet from the server to relayd.
export const lossy = () => during('lossy', LOSSY_MS, { output: `ip daddr 10.99.${number}.2 udp length > 60 numgen inc mod 10 == 0 drop` });

export function healAll() {
  for (const { timer, end } of busy.values()) {
    clearTimeout(timer);
    end();
  }
}
