// latency.mjs - the demo's latency: relayd's own figures for so many users that speak: node latency.mjs IDLE USERS
import { newUser, status, toneSamples, until } from '../e2e/lib/world.mjs';

async function latency(idle, count) {
  const users = [], speaking = {};
  for (let i = 0; i < count; i++) {
    const user = newUser('load'), phone = await user.phone();
    await phone.publish();
    phone.speakTrack(toneSamples(48000), speaking);
    await user.mustJoin();
    users.push({ user, phone, stream: user.stream() });
  }
  await until('audio of everybody', () => users.every(({ stream }) => stream.bytes > 5 * 32000), 60000);
  const { latency: l } = await status();
  console.log(`  ${idle.padEnd(10)} ${String(count).padStart(6)} ${[l.p50_us, l.p99_us, l.max_us].map((us) => String(us).padStart(10)).join(' ')}`);
  speaking.stop = true;
  return l.count > 0;
}

process.exit((await latency(process.argv[2], Number(process.argv[3]))) ? 0 : 1);
