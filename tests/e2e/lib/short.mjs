// short.mjs - the main job in short: track and data through whatever world the test was given.
import { test } from 'node:test';
import {
  assert, countOrder, heardSteps, newUser, receivedNumbers, samplesOf, session, stepsInOrder, toneSamples, until,
} from './world.mjs';

export function shortTests(label) {
  test(`${label}: track`, async () => {
    const user = newUser('track'), phone = await user.phone(), speaking = {};
    await phone.publish();
    const speech = phone.speakTrack(toneSamples(48000), speaking);
    await user.mustJoin();
    const stream = user.stream();
    await until('4 s of audio', () => stream.bytes >= 4 * 32000);
    const steps = heardSteps(samplesOf(stream)), seen = await session(user.id);
    assert.ok(steps.length >= 36, `${steps.length} tone steps`);
    assert.ok(stepsInOrder(steps), `tone steps in order: ${steps}`);
    assert.equal(seen.source.lost + seen.source.concealed, 0);
    speaking.stop = true;
    await speech;
    await user.leave();
    await phone.leave();
    user.close();
  });

  test(`${label}: data`, async () => {
    const user = newUser('data'), phone = await user.phone();
    await user.mustJoin();
    const stream = user.stream();
    await until('the data channel', async () => (await session(user.id)).transport.data_open);
    await phone.speakData(200);
    await until('200 frames', () => stream.bytes >= 200 * 640);
    const order = countOrder(receivedNumbers(stream));
    assert.deepEqual(order, { received: 200, first: 0, last: 199, lost: 0, doubled: 0, disorder: 0 });
    await user.leave();
    await phone.leave();
    user.close();
  });
}
