// phone.mjs - a phone on the command line: joins a room and speaks until it is interrupted.
//
//   node phone.mjs --identity alice --room alice [--data [--first N]] [--wav FILE]
//
// As a track, or as data packets (numbered from N on); tones without a file.
import { parseArgs } from 'node:util';
import { Phone } from './lib/phone.mjs';
import { token } from './lib/tokens.mjs';
import { toneSamples } from './lib/signal.mjs';
import { readWav, upsample3 } from './lib/wav.mjs';

const { values } = parseArgs({ options: {
  identity: { type: 'string', default: 'alice' }, room: { type: 'string', default: 'alice' },
  data: { type: 'boolean' }, first: { type: 'string', default: '0' }, track: { type: 'boolean' }, wav: { type: 'string' } } });
const phone = await new Phone(values.identity).join(process.env.LIVEKIT_URL, await token(values.identity, values.room));
const pcm = values.wav && readWav(values.wav).pcm;
phone.dataFrame = Number(values.first);
console.log(JSON.stringify({ joined: values.room, identity: values.identity }));
if (values.data) await (pcm ? phone.speakDataPcm(pcm) : phone.speakData());
else {
  await phone.publish();
  await phone.speakTrack(pcm ? upsample3(pcm) : toneSamples(48000));
}
await phone.leave();
process.exit(0);
