// flood.test.mjs - a flood on the wire beside one who talks: nothing of the voice is missing that is not counted, and health says
// what is going on, while it is.
import { test, before, after } from 'node:test';
import { execFile, execFileSync } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { assert, countOrder, drops, logLines, nothingLeft, receivedNumbers, session, status, until } from './lib/world.mjs';
import { speaker } from './lib/swaps.mjs';

const RATES = (process.env.FLOOD_RATES ?? '10000,100000').split(',').map(Number), SECONDS = Number(process.env.FLOOD_SECONDS ?? 5);
const program = path.join(path.dirname(process.env.RELAYD), 'udp-flood');
const [testbed, ...place] = process.env.TESTBED.split(' ');
const run = promisify(execFile);
const voice = await speaker('talker', 'data'), { user, phone } = voice;

before(async () => {
  await user.mustJoin();
  const stream = voice.listen();
  await voice.ready();
  voice.speak();
  await until('one second of speech', () => stream.bytes >= 32000);
});

after(async () => {
  await voice.stop();
  await voice.close();
  await nothingLeft();
});

const shown = () => execFileSync(process.env.RELAYCTL, ['--socket', process.env.RELAYCTL_SOCKET, 'status'], { encoding: 'utf8' });

test('without a flood health is well', async () => {
  const { health, reasons } = await status();
  assert.equal(health, 'ok', reasons.join('; '));
});

for (const rate of RATES)
  test(`${rate / 1000} kpps: what is missing is counted, and health says what is going on`, async (t) => {
    const { ports } = await status(), address = ports[0].address.split('/')[0];
    const drops0 = await drops(), lost0 = (await session(user.id)).source.data_lost, said0 = phone.dataFrame;
    const flooding = run(testbed, [...place, 'exec', 'sfu', program, address, '20000', '29999', String(rate), String(SECONDS)]);
    let told;
    await until('health to say so', async () => (told = await status()).reasons.some((reason) => /^a flood: \d+ packets a second that are for nobody; most: /.test(reason)));
    assert.equal(told.health, 'degraded');
    assert.match(shown(), /! a flood: \d+ packets a second/);
    const [sent, reached] = (await flooding).stdout.trim().split(' ').map(Number);
    await until('what was said', async () => voice.bytes() / 640 + (await session(user.id)).source.data_lost >= phone.dataFrame - 1);
    const order = countOrder(receivedNumbers(voice.streams[0])), now = await status(), all = await drops();
    const { source } = await session(user.id), kernel = (all.KERNEL_RING_FULL ?? 0) - (drops0.KERNEL_RING_FULL ?? 0);
    assert.deepEqual([order.first, order.doubled, order.disorder], [0, 0, 0], JSON.stringify(order));
    assert.equal(order.lost, source.data_lost, 'what is missing is what is counted');
    if (kernel === 0) assert.equal(source.data_lost, lost0, 'nothing was dropped by the kernel, and yet frames are missing');
    else assert.ok(now.reasons.some((reason) => /packets were lost in the last minute: the kernel dropped/.test(reason)), now.reasons.join('; '));
    assert.ok(logLines().some((line) => line.message === 'A flood on the wire' && line.packetsPerSecond > 5000));
    t.diagnostic(`${sent} packets sent, ${reached} a second; the kernel dropped ${kernel}; ${source.data_lost - lost0} of ${phone.dataFrame - said0} frames lost; health: ${told.reasons.join('; ')}`);
    await until('health to be quiet about floods', async () => !(await status()).reasons.some((reason) => /^a flood/.test(reason)));
    await until('the log to say that it is over', () => logLines().some((line) => line.message === 'The flood on the wire is over'));
  });
