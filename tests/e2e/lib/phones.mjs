// phones.mjs - many phones: spread over processes of their own, used as if each were here.
import { fork } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { token, url } from './world.mjs';

const program = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../peers/node/phones.mjs');

function host() {
  const child = fork(program), waiting = new Map();
  let next = 0;
  child.on('message', ({ id, error, ...answer }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(new Error(error));
    else resolve(answer);
  });
  child.on('exit', (code) => waiting.forEach(({ reject }) => reject(new Error(`the phones' process ended with ${code}`))));
  return {
    call: (phone, verb, ...args) => new Promise((resolve, reject) => {
      waiting.set(++next, { resolve, reject });
      child.send({ id: next, phone, verb, args });
    }),
    close: () => child.disconnect(),
    kill: () => new Promise((done) => {
      child.removeAllListeners('exit');
      child.on('exit', done);
      child.kill('SIGKILL');
    }),
  };
}

// count processes; phone(identity) is a phone in the room of its name, in the next one of them.
export function phones(count) {
  const hosts = Array.from({ length: count }, host);
  let turn = 0;
  return {
    async phone(identity) {
      const { call } = hosts[turn++ % count];
      const phone = { identity, dataFrame: 0 };
      const step = (verb, ...args) => call(identity, verb, ...args);
      // Speaks tones, or frames numbered from dataFrame on, until speaking.stop is set.
      const speak = (verb) => async (_samples, speaking) => {
        const watch = setInterval(() => {
          if (!speaking.stop) return;
          clearInterval(watch);
          step('stop');
        }, 20);
        phone.dataFrame = (await step(verb, phone.dataFrame)).dataFrame;
      };
      Object.assign(phone, {
        publish: () => step('publish'), speakWav: (...args) => step('speakWav', ...args), speakTrack: speak('speakTrack'), speakData: speak('speakData'), leave: () => step('leave'),
      });
      await step('join', url, await token(identity, identity));
      return phone;
    },
    close: () => hosts.forEach((each) => each.close()),
    kill: () => Promise.all(hosts.map((each) => each.kill())), // as a force-quit is: no goodbye
  };
}
