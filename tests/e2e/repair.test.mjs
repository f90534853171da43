// testbed: --injector --relay-yaml tests/e2e/lib/conceal.yaml
// repair.test.mjs - the network between server and relayd breaks things: what was dropped is repaired, concealed or told, each once.
//
// REPAIR_LONG=1 (with E2E_LIMIT_MS=2400000): 0, 1, 5, 10 and 20 %, by single packets and in bursts, a minute each: half an hour.
// REPAIR_SEED=N: another network. REPAIR_SECONDS=N: so long each.
import { execFileSync } from 'node:child_process';
import { test, after } from 'node:test';
import { assert, countOrder, drops, newUser, nothingLeft, receivedNumbers, samplesOf, session, sleep, toneSamples, until } from './lib/world.mjs';
import { change, counted, disturb, table } from './lib/injector.mjs';
import { toneQuality } from '../peers/node/lib/signal.mjs';

const long = process.env.REPAIR_LONG === '1', seconds = Number(process.env.REPAIR_SECONDS ?? (long ? 60 : 5));
const seed = Number(process.env.REPAIR_SEED ?? 1);
const losses = (long ? [0, 1, 5, 10, 20] : [10]).flatMap((loss) => [{ loss }, ...(loss > 0 ? [{ loss, burst: 4 }] : [])]);
const named = ({ loss = 0, burst = 1 }) => (burst > 1 ? `${loss} % in bursts of ${burst}` : `${loss} %`);
after(nothingLeft);
after(() => disturb({}));

// Disturbs for a while, then lets what is open settle: nothing that comes later is counted to it. caughtUp: whether what a sender
// held back is out.
async function during(user, words, packets, caughtUp = () => true) {
  const before = (await session(user.id)).source;
  await disturb({ ...words, seed });
  await sleep(seconds * 1000); // how much is spoken, not a guess
  const network = await disturb({});
  await until('what was held to arrive', async () => (await counted()).waiting === 0);
  await until('what the server held back', caughtUp, 120000);
  const settled = (await session(user.id)).source[packets];
  await until('half a second of undisturbed packets', async () => (await session(user.id)).source[packets] >= settled + 25);
  assert.equal(network.overflow, 0);
  return { network, seen: change(before, (await session(user.id)).source) };
}

async function speaker(options) {
  const user = newUser(options.red ? 'red' : 'plain'), phone = await user.phone(), speaking = {};
  await phone.publish(options);
  const speech = phone.speakTrack(toneSamples(48000), speaking);
  await user.mustJoin();
  const stream = user.stream();
  await until('4 s of audio', () => stream.bytes >= 4 * 32000);
  let ended;
  return { user, stream, end: () => (ended ??= (async () => {
    speaking.stop = true;
    await speech;
    await user.leave();
    await phone.leave();
    user.close();
  })()) };
}

for (const red of [true, false])
  test(`track ${red ? 'with' : 'without'} RED: what was dropped is what was repaired and concealed`, async (t) => {
    const { user, stream, end } = await speaker({ red }), rows = [], parts = [{ from: 16000, to: stream.bytes / 2 }]; // without the encoder's first second
    t.after(end);
    for (const words of losses) {
      const from = stream.bytes / 2;
      const { network, seen } = await during(user, words, 'packets');
      parts.push({ from, to: stream.bytes / 2, seen });
      rows.push({ dropped: named(words), packets: network.rtp, lost: network.rtp_dropped, RED: seen.repaired_red, NACK: seen.repaired_nack,
        FEC: seen.repaired_fec, concealed: seen.concealed, late: seen.late, 'resent (lost)': `${network.rtp_again} (${network.rtp_again_dropped})` });
      const said = JSON.stringify({ network, seen });
      t.diagnostic(`${named(words)}: ${said}`);
      assert.equal(seen.repaired_red + seen.repaired_nack + seen.lost, network.rtp_dropped, said);
      assert.equal(seen.repaired_fec + seen.concealed, seen.lost, said);
      assert.equal(seen.decode_errors, 0, said);
      if (words.loss > 0) assert.ok(network.rtp_dropped > 0, said);
      if (red && words.loss > 0) assert.ok(seen.repaired_red > 0, said);
      // LiveKit answers a NACK for audio that is no RED, though none was negotiated.
      if (!red && words.loss > 0) assert.ok(seen.repaired_nack > 0, said);
    }
    const shown = execFileSync(process.env.RELAYCTL, ['--socket', process.env.RELAYCTL_SOCKET, 'session', user.id], { encoding: 'utf8' });
    const { source } = await session(user.id), said = /(\d+) from RED, (\d+) by NACK, (\d+) from FEC, (\d+) concealed/.exec(shown);
    assert.deepEqual(said?.slice(1).map(Number), [source.repaired_red, source.repaired_nack, source.repaired_fec, source.concealed], shown);
    await end(); // the phone is in this process, and what follows takes its time
    const [clean, ...heard] = parts.map(({ from, to }) => toneQuality(samplesOf(stream).subarray(from, to)));
    heard.forEach(({ right, snr }, i) => Object.assign(rows[i], { 'right pitch': `${(100 * right).toFixed(1)} %`, 'SNR dB': snr.toFixed(1) }));
    t.diagnostic(`seed ${seed}, undisturbed ${(100 * clean.right).toFixed(1)} %, ${clean.snr.toFixed(1)} dB\n${table(rows)}`);
    heard.forEach(({ right, snr }, i) => {
      const { packets, concealed, repaired_fec } = parts[i + 1].seen;
      assert.ok(right > 0.6, `${rows[i].dropped}: ${right} of the tones`); // and then a phone that is short of CPU: more is not owed
      // What was repaired sounds as if nothing had happened: the damage is what was concealed, three blocks of up to 45 dB each.
      const damage = clean.snr - snr, owed = 3 + (135 * (concealed + repaired_fec)) / packets;
      assert.ok(damage < owed, `${rows[i].dropped}: ${damage.toFixed(1)} dB of damage, ${owed.toFixed(1)} owed`);
    });
  });

test('track: what is only late or doubled is neither lost nor heard twice', async (t) => {
  const { user, end } = await speaker({ red: false });
  t.after(end);
  const { network, seen } = await during(user, { reorder: 10, hold: 30, dup: 10, jitter: 5 }, 'packets');
  t.diagnostic(`seed ${seed}: ${network.rtp_held} of ${network.rtp} held back 30 ms, ${network.rtp_dup} doubled: ${seen.reordered} reordered, ` +
    `${seen.late} late, ${seen.lost} lost, ${seen.repaired_nack} by NACK, ${seen.duplicate} duplicate`);
  assert.ok(network.rtp_held > 0 && network.rtp_dup > 0);
  assert.equal(seen.lost, seen.late, JSON.stringify(seen)); // given up, and then it came
  assert.ok(seen.lost <= network.rtp_held / 10, JSON.stringify(seen));
  assert.equal(seen.concealed + seen.repaired_fec, seen.lost);
});

// The middle age of so many chunks at their coming.
function ageOf(stream, count = 25) {
  return new Promise((resolve) => {
    const ages = [];
    stream.onChunk = (chunk) => {
      ages.push(Date.now() - Number(chunk.timestamp_ms));
      if (ages.length < count) return;
      stream.onChunk = null;
      resolve(ages.sort((a, b) => a - b)[count >> 1]);
    };
  });
}

test('track: a frame says when it was spoken, by the sender reports, not when it came', async (t) => {
  const { user, stream, end } = await speaker({ red: false }), delay = 400;
  t.after(end);
  await until('a frame younger than the delay', async () => (await ageOf(stream)) < delay / 2);
  await disturb({ delay, seed }); // of media; the reports are as they were
  t.after(() => disturb({}));
  await until('frames as old as the delay', async () => (await ageOf(stream)) >= delay, 60000);
});

// Behind heavy loss the server's SCTP holds back half a minute and then sends it at once: what is more than the ring is long is lapped,
// and told as that. Its way into the ring is whole all the same.
//
// The server sends a lossy packet once more when it is told of a gap soon enough, so fewer are missing than were dropped. Exact is
// that what the stream misses is what was told, and that as much silence is in its place.
test('data: every packet that is missing is told, and no other', async (t) => {
  const user = newUser('data');
  await user.mustJoin();
  const stream = user.stream(), phone = await user.phone(), speaking = {}, rows = [];
  t.after(async () => {
    speaking.stop = true;
    await user.leave();
    await phone.leave();
    user.close();
  });
  await until('both ends of the data channel', async () => (await session(user.id)).transport.data_open);
  const speech = phone.speakData(Infinity, speaking);
  await until('a second of audio', () => stream.bytes >= 32000);
  const caughtUp = () => countOrder(receivedNumbers(stream)).last >= phone.dataFrame - 25;
  let told = 0, late = 0;
  for (const words of [...losses, { reorder: 10, hold: 30, dup: 10 }]) {
    const { network, seen } = await during(user, words, 'data_packets', caughtUp), said = JSON.stringify({ network, seen });
    rows.push({ network: words.loss === undefined ? '10 % held 30 ms, 10 % doubled' : named(words), records: network.records,
      dropped: network.records_dropped, lost: seen.data_lost, late: seen.data_late, reordered: seen.data_reordered });
    t.diagnostic(`seed ${seed}\n${table(rows)}`);
    told += seen.data_lost;
    late += seen.data_late; // some come when the next row has begun
    assert.ok(late <= told, said);
    if (!words.loss) assert.equal(seen.data_lost, 0, said);
    assert.equal(seen.data_resets, 0, said);
    if (words.loss > 0) assert.ok(network.records_dropped > 0, said);
    if (words.reorder) assert.ok(seen.data_reordered > 0 && network.records_dup > 0, said);
  }
  // A message of many packets is whole at the server and larger than a buffer here: named, and the voice goes on.
  const before = (await drops()).DATA_TOO_LARGE ?? 0;
  await phone.room.localParticipant.publishData(new Uint8Array(9000), { reliable: false });
  await until('the large message to be dropped', async () => ((await drops()).DATA_TOO_LARGE ?? 0) > before);
  speaking.stop = true;
  await speech;
  await until('the last frame', () => countOrder(receivedNumbers(stream)).last === phone.dataFrame - 1);
  const numbers = receivedNumbers(stream), order = countOrder(numbers.filter((n) => n >= 0));
  const lapped = Number((await session(user.id)).stream.lapped);
  if (lapped === 0) assert.equal(numbers.filter((n) => n < 0).length, told);
  assert.ok(long || lapped === 0, 'the short form stays within the ring');
  // What was lapped may be silence of a lost one as well.
  assert.ok(order.lost >= told - lapped && order.lost <= told + lapped, JSON.stringify({ order, told, lapped }));
  assert.deepEqual([order.doubled, order.disorder], [0, 0], JSON.stringify(order));
});
