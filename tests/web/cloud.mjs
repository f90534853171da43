// cloud.mjs - the cloud of one visitor, in a process of its own that can be killed: it joins, listens, and says how loud it is.
//
//   fork(cloud.mjs, [USER, IDENTITY]); it takes { join: identity } and { leave: true }, and sends { joined }, { failed }, { level, bytes }
import { Cloud } from '../peers/node/lib/cloud.mjs';
import { token } from '../peers/node/lib/tokens.mjs';

const LEVEL_MS = 100;
const [user, identity] = process.argv.slice(2);
const cloud = new Cloud();
let stream, bytes = 0, sum = 0, samples = 0;

function listen() {
  const mine = cloud.streamAudio(user);
  stream = mine;
  mine.onChunk = ({ pcm_data }) => {
    mine.chunks.length = 0; // nobody asks for them again
    bytes += pcm_data.length;
    samples += pcm_data.length >> 1;
    for (let at = 0; at + 1 < pcm_data.length; at += 2) sum += (pcm_data.readInt16LE(at) / 32768) ** 2;
  };
}

async function join(as) {
  const began = performance.now();
  const answer = await cloud.joinRoom(user, user, await token(as, user), process.env.LIVEKIT_URL, user)
    .catch((error) => ({ success: false, error: error.message }));
  if (!answer.success) {
    process.send({ failed: answer.error });
    return;
  }
  const before = stream;
  listen();
  before?.call.cancel();
  process.send({ joined: as, ms: Math.round(performance.now() - began) });
}

process.on('message', async (message) => {
  if (message.join) await join(message.join);
  if (message.leave) {
    await cloud.leaveRoom(user, 'the page was closed').catch(() => {});
    process.exit(0);
  }
});
process.on('disconnect', () => process.exit(0));
setInterval(() => {
  process.send({ level: samples > 0 ? Math.sqrt(sum / samples) : 0, bytes });
  sum = samples = 0;
}, LEVEL_MS);
await join(identity);
