// phones.mjs - phones that another process directs, one message a step: one process of the SDK gets slow with the square of its rooms.
//
// In: { id, phone, verb, args }. Out: { id, value } or { id, error }. Ends with the process that started it.
import { Phone } from './lib/phone.mjs';
import { toneLoop } from './lib/signal.mjs';
import { readWav } from './lib/wav.mjs';

const phones = new Map();
const verbs = {
  join: async (phone, url, token) => { await phone.join(url, token); },
  publish: (phone) => phone.publish(),
  speakTrack: (phone) => phone.speakTrack(toneLoop(), (phone.speaking = {}), { loop: true }),
  speakData: (phone, first) => {
    phone.dataFrame = first;
    return phone.speakData(Infinity, (phone.speaking = {}));
  },
  speakWav: (phone, file, from_ms, to_ms) => phone.speakDataPcm(readWav(file).pcm.subarray(from_ms * 16, to_ms * 16)),
  stop: async (phone) => { phone.speaking.stop = true; },
  leave: async (phone) => {
    phones.delete(phone.identity);
    await phone.leave();
  },
};

process.on('message', async ({ id, phone: identity, verb, args }) => {
  if (!phones.has(identity)) phones.set(identity, new Phone(identity));
  const phone = phones.get(identity);
  try {
    const value = await verbs[verb](phone, ...args);
    process.send({ id, value, dataFrame: phone.dataFrame });
  } catch (error) {
    process.send({ id, error: error.message });
  }
});
process.on('disconnect', () => process.exit(0));
