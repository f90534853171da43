// soniox.mjs - the parts of bench/soniox_bench: measure WAY FORM FILE (inside a world), report FORM FILE FILE JSON.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

const GROUPS = [['worker', /^rte-worker/], ['control', /^relayd$/], ['to Soniox', /^ws-io|^handshake/], ['gRPC', /grpc|event_engine|executo|timer_manager/]];

// CPU time of relayd's threads so far, in ns, by what they are for; threads that end meanwhile have nothing to do with a user.
function cpu() {
  const folder = `/proc/${process.env.RELAYD_PID}/task`, sum = Object.fromEntries([...GROUPS.map(([name]) => [name, 0]), ['rest', 0]]);
  for (const task of readdirSync(folder)) {
    try {
      const name = readFileSync(`${folder}/${task}/comm`, 'utf8').trim();
      const group = GROUPS.find(([, pattern]) => pattern.test(name))?.[0] ?? 'rest';
      sum[group] += Number(readFileSync(`${folder}/${task}/schedstat`, 'utf8').split(' ')[0]);
    } catch { /* it has ended */ }
  }
  return sum;
}

async function measure(way, form, file) {
  const { newUser, session, sleep, until } = await import('../tests/e2e/lib/world.mjs');
  const { captionState, startStandin, transcribe, transcripts } = await import('../tests/e2e/lib/captions.mjs');
  const { phones } = await import('../tests/e2e/lib/phones.mjs');
  const count = form === '--full' ? 9 : 4, seconds = form === '--full' ? 20 : 3;
  const standin = await startStandin('scripted'), others = phones(Math.ceil(count / 4)), users = [];
  for (let i = 0; i < count; i++) {
    const user = newUser('bench'), phone = await others.phone(user.id), speaking = {};
    await phone.publish();
    await user.mustJoin();
    users.push({ user, phone, speaking, speech: phone.speakTrack([], speaking) });
  }
  const each = (fn) => Promise.all(users.map(fn));
  const sent = async () => standin.log().connections.reduce((sum, connection) => sum + (connection.received?.bytes ?? 0), 0);
  // Microseconds of CPU per user and second, by thread, over some seconds.
  async function cost() {
    await sleep(500);
    const [before, bytes, from] = [cpu(), await sent(), performance.now()];
    await sleep(seconds * 1000);
    const after = cpu(), took = (performance.now() - from) / 1000, result = {};
    for (const name of Object.keys(after)) result[name] = (after[name] - before[name]) / 1000 / took / count;
    result.total = Object.values(result).reduce((a, b) => a + b, 0);
    result.bytes = ((await sent()) - bytes) / took / count;
    return result;
  }
  await until('audio of everybody', async () => (await Promise.all(users.map(({ user }) => session(user.id)))).every(({ source }) => source.packets > 50));
  const stages = { joined: await cost() };
  await each(({ user }) => { user.open = user.stream(); });
  await until('PCM of everybody', () => users.every(({ user }) => user.open.bytes > 32000));
  stages.streamed = await cost();
  await each(({ user }) => user.open.call.cancel());
  await each(({ user }) => transcribe(user.id));
  await until('captions of everybody', async () => (await Promise.all(users.map(({ user }) => captionState(user.id)))).every((s) => s.tokens > 0 || s.sent_ms > 2000));
  stages.captioned = await cost();
  await each(({ user }) => { user.open = user.stream(); });
  await until('PCM again', () => users.every(({ user }) => user.open.bytes > 32000));
  stages.both = await cost();
  writeFileSync(file, JSON.stringify({ way, count, seconds, stages }));
  await each(({ user }) => transcripts('Transcribe', { user_id: user.id, off: true }));
  users.forEach(({ speaking }) => { speaking.stop = true; });
  await each(({ speech }) => speech);
  await each(({ user }) => user.leave());
  standin.stop();
  others.close();
  await sleep(50);
}

function report(form, files, json) {
  const ways = files.map((file) => JSON.parse(readFileSync(file, 'utf8')));
  const names = [...GROUPS.map(([name]) => name), 'rest', 'total'];
  const rows = [];
  for (const { way, stages } of ways)
    for (const [label, from, to] of [['joined, nobody listens', null, 'joined'], ['+ StreamAudio', 'joined', 'streamed'],
      ['+ captions', 'joined', 'captioned'], ['+ captions + StreamAudio', 'joined', 'both']])
      rows.push([`${way}: ${label}`, ...names.map((name) => stages[to][name] - (from ? stages[from][name] : 0)), stages[to].bytes / 1000]);
  const [pcm, ogg] = ways.map(({ stages }) => ({ captions: stages.captioned.total - stages.joined.total, grpc: stages.streamed.total - stages.joined.total, bytes: stages.captioned.bytes }));
  const result = { name: 'soniox', title: 'what a captioned user costs, by PCM and by Ogg Opus', form: form.slice(2),
    tables: [{ title: `microseconds of relayd's CPU per user and second, by thread (${ways[0].count} users, ${ways[0].seconds} s each; rows with + are what is added to the first)`,
      columns: ['way', ...names, 'kB/s to Soniox'], rows }],
    plots: [], checks: [],
    notes: [`Captions add ${pcm.captions.toFixed(0)} us per user and second by PCM and ${ogg.captions.toFixed(0)} by Ogg; StreamAudio adds ${pcm.grpc.toFixed(0)}.`,
      `On the wire to Soniox: ${(pcm.bytes / 1000).toFixed(1)} kB/s by PCM, ${(ogg.bytes / 1000).toFixed(1)} by Ogg; the stand-in is spoken to by ws, so TLS is not in it.`] };
  writeFileSync(json, JSON.stringify(result, null, 1));
  console.log(result.tables[0].title);
  const text = [result.tables[0].columns, ...rows.map(([name, ...values]) => [name, ...values.map((v) => v.toFixed(v < 100 ? 1 : 0))])];
  for (const [name, ...cells] of text) console.log(`  ${name.padEnd(38)}${cells.map((cell) => String(cell).padStart(cell.length > 10 ? 15 : 11)).join('')}`);
  result.notes.forEach((note) => console.log(note));
}

const [verb, ...rest] = process.argv.slice(2);
if (verb === 'measure') await measure(...rest);
else report(rest[0], rest.slice(1, 3), rest[3]);
process.exit(0);
