// soniox.mjs - what hears the speech: the stand-in, or with SONIOX_API_KEY the real service. Both can be cut and stalled.
import net from 'node:net';
import path from 'node:path';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { startStandin } from '../../e2e/lib/captions.mjs';
import { until } from '../../e2e/lib/world.mjs';

const outside = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../demo/outside.mjs');

// A way out of a place to a Unix socket of ours.
export async function openWay(place, port, socket) {
  const [testbed, ...args] = process.env.TESTBED.split(' ');
  const child = spawn(testbed, [...args, 'exec', place, process.execPath, outside, 'in', socket, String(port), '--say'],
    { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (data) => (out += data));
  await until(`the way out of ${place}`, () => out.includes('listening'), 20000);
  return child;
}

async function standin() {
  const program = await startStandin('sphinx');
  const fault = (kind) => {
    const living = program.log().connections.filter(({ state }) => state !== 'closed');
    for (const { id } of living) program.fault({ fault: kind, connection: id });
    return living.length;
  };
  return { name: 'Soniox stand-in (PocketSphinx)', real: false, cut: () => fault('reset'), stall: () => fault('stall'), stop: program.stop };
}

// relayd sits in a place without a way out: its TLS connection is carried to the service byte for byte, so it can be cut here.
async function service(folder, host, port = 443) {
  const lines = new Set(), socket = path.join(folder, 'soniox.sock');
  const server = net.createServer((near) => {
    const far = net.connect(port, host), line = { near, far };
    const end = (one, other) => one.on('error', () => {}).on('close', () => {
      lines.delete(line);
      other.destroy();
    });
    end(near, far);
    end(far, near);
    lines.add(line);
    near.pipe(far).pipe(near);
  });
  await new Promise((done) => server.listen(socket, done));
  const child = await openWay('relayd', 443, socket);
  const each = (act) => [...lines].map(act).length;
  return {
    name: host, real: true,
    cut: () => each(({ near, far }) => {
      far.resetAndDestroy();
      near.destroy();
    }),
    // Neither side hears the other any more, and nobody says so; but an end is still seen.
    stall: () => each(({ near, far }) => {
      near.unpipe(far).resume();
      far.unpipe(near).resume();
    }),
    stop: () => {
      child.kill();
      server.close();
    },
  };
}

export const startSoniox = (folder) => {
  if (!process.env.SONIOX_API_KEY) return standin();
  const [host, port] = (process.env.DEMO_SONIOX ?? 'stt-rt.soniox.com').split(':');
  return service(folder, host, Number(port ?? 443));
};
