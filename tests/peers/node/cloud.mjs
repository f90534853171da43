// cloud.mjs - a cloud on the command line: joins a user's room, receives its voice, says what came.
//
//   node cloud.mjs --user alice --room alice [--seconds 10] [--wav FILE] [--frames] [--pcm FILE]
//
// With --frames a line for every frame of the data way: its number and when it came (Unix ms). With --pcm what comes is appended to
// a file at once, so that it is known whatever happens to this process, and a stream that ends OK is followed by the next one, as
// production's clients do it.
import { appendFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Cloud, samplesOf } from './lib/cloud.mjs';
import { CELL, frameNumber } from './lib/signal.mjs';
import { token } from './lib/tokens.mjs';
import { writeWav } from './lib/wav.mjs';

const { values } = parseArgs({ options: {
  user: { type: 'string', default: 'alice' }, room: { type: 'string', default: 'alice' },
  seconds: { type: 'string', default: '10' }, wav: { type: 'string' }, frames: { type: 'boolean' },
  pcm: { type: 'string' } } });
const cloud = new Cloud();
const answer = await cloud.joinRoom(values.user, values.room, await token(`cloud-agent:${values.user}`, values.room),
  process.env.LIVEKIT_URL, values.user);
console.log(JSON.stringify(answer));
if (!answer.success) process.exit(1);
let stream = cloud.streamAudio(values.user);
async function keep() {
  for (;;) {
    stream.onChunk = ({ pcm_data }) => appendFileSync(values.pcm, pcm_data);
    if ((await stream.ended).code !== 0) return;
    stream = cloud.streamAudio(values.user);
  }
}
if (values.pcm) keep();
if (values.frames) stream.onChunk = (chunk) => {
  const pcm = samplesOf({ chunks: [chunk] });
  for (let at = 0; at + CELL <= pcm.length; at += CELL)
    console.log(JSON.stringify({ frame: frameNumber(pcm.subarray(at, at + CELL)), at: Date.now() }));
};
await new Promise((done) => setTimeout(done, Number(values.seconds) * 1000));
console.log(JSON.stringify({ chunks: stream.chunks.length, bytes: stream.bytes, status: await cloud.getStatus(values.user) }));
if (values.wav) writeWav(values.wav, samplesOf(stream));
await cloud.leaveRoom(values.user);
process.exit(0);
