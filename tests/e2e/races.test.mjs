// races.test.mjs - everything at once and at the wrong moment. After each: one session or none, as it should be, the right answer
// for every caller, nobody of ours left in a room who should not be there, and the surviving audio unbroken.
import { test, after } from 'node:test';
import { Phone, assert, fds, newUser, nothingLeft, rooms, session, status, testbed, token, until } from './lib/world.mjs';
import { signalProxy } from './lib/proxy.mjs';
import { sleep, speaker, swapsOf, wholeVoice } from './lib/swaps.mjs';

after(nothingLeft);

const inside = async (room) => (await rooms().listParticipants(room)).map((p) => p.identity);
const anybody = (room, ...expected) =>
  until(`[${expected}] in ${room}`, async () => JSON.stringify((await inside(room)).sort()) === JSON.stringify([...expected].sort()))
    .catch(async (error) => { throw new Error(`${error.message}; there are [${await inside(room)}]`); });

test('twenty joins of one user to five places at once: the last wins, the others are told', async () => {
  const user = newUser('many'), places = [];
  for (let i = 0; i < 20; i++) places.push({ identity: `bridge-${i % 5}`, jwt: await token(`bridge-${i % 5}`, user.room) });
  const answers = await Promise.all(places.map((place) => user.join(place)));
  for (const answer of answers.slice(0, -1)) if (!answer.success) assert.match(answer.error, /superseded by a newer join request/);
  const last = answers.at(-1);
  assert.equal(last.success, true, last.error);
  assert.equal((await session(user.id)).participant_id, last.participant_id);
  assert.equal((await status()).totals.active_sessions, 1);
  await anybody(user.room, last.participant_id);
  await user.leave();
  await anybody(user.room);
  user.close();
});

test('joins and leaves at once', async () => {
  const user = newUser('leaving');
  for (let round = 0; round < 15; round++) {
    const join = user.join();
    await sleep(Math.random() * 40);
    const left = await user.leave(), answer = await join;
    if (!answer.success) assert.equal(answer.error, 'left');
    assert.ok(left.success || left.error === 'session not found', JSON.stringify(left));
    if (!left.success) await user.leave(); // it came before the join
    assert.equal((await user.cloud.getStatus(user.id)).connected, false);
  }
  await anybody(user.room);
  user.close();
});

// How many of ours are in a room. The server's list is its store; a participant removed in the instant between being let in and being
// stored stays in that list until the room ends, though it is gone. So whoever is listed is looked for in the room itself.
async function present(user) {
  const listed = (await inside(user.room).catch(() => [])).length;
  if (listed === 0) return 0;
  const witness = await new Phone('witness').join(process.env.LIVEKIT_URL, await token('witness', user.room));
  const seen = witness.room.remoteParticipants.size;
  await witness.leave();
  return seen;
}

test('a join against the loss of the room', async () => {
  for (const [reason, act] of [
    ['removed', (user) => rooms().removeParticipant(user.room, `cloud-agent:${user.id}`)],
    ['deleted', (user) => rooms().deleteRoom(user.room)]]) {
    for (let round = 0; round < 4; round++) {
      const user = newUser(`loss-${reason}`);
      await user.mustJoin();
      const lose = sleep(Math.random() * 12).then(() => act(user)).catch(() => {}); // may find nobody
      const answer = await user.join();
      await lose;
      // Either the join came last and there is a session, or the loss did and it is reported. One that was told of the loss by the
      // end of its connection alone comes back by itself.
      await sleep(300);
      await until('it to be settled', async () => !['recovering', 'joining'].includes((await session(user.id))?.state), 30000);
      const seen = await user.cloud.getStatus(user.id);
      await until(`${seen.connected ? 'one' : 'none'} of ours, ${JSON.stringify([seen, answer])}`,
        async () => (await present(user)) === (seen.connected ? 1 : 0));
      if (!seen.connected) assert.match(seen.last_disconnect_reason, /participant_removed|room_deleted|join_failed|transport_lost/);
      await user.leave();
      user.close();
    }
  }
});

test('StreamAudio reconnects in the middle of swaps', async () => {
  const voice = await speaker('stream', 'data'), { user } = voice;
  await user.mustJoin({ identity: 'a' });
  voice.listen();
  await voice.ready();
  voice.speak();
  for (let i = 0; i < 12; i++) {
    const swap = user.join({ identity: i % 3 ? 'a' : 'b' });
    voice.listen();
    await sleep(Math.random() * 20);
    voice.listen();
    assert.equal((await swap).success, true);
    voice.listen();
    await sleep(Math.random() * 100);
  }
  await voice.stop();
  await wholeVoice(voice);
  for (const stream of voice.streams.slice(0, -1)) assert.equal((await stream.ended).code, 0);
  await voice.close();
});

test('cancelled and timed-out joins over a speaking session', async () => {
  const voice = await speaker('cancel', 'data'), { user } = voice;
  await user.mustJoin({ identity: 'a' });
  voice.listen();
  await voice.ready();
  voice.speak();
  const places = [{ identity: 'a' }, { identity: 'b' }, { identity: 'c', room: `${user.room}-c` }];
  for (let i = 0; i < 24; i++) {
    const join = user.join({ ...places[i % 3], call: { deadline: Date.now() + 1 + Math.random() * 25 } });
    await join.then((answer) => {
      assert.equal(answer.success, true, answer.error);
      voice.listen();
    }, (error) => assert.equal(error.code, 4));
    await until('it to be settled', async () => /^(connected|recovering)$/.test((await session(user.id)).state));
    if (voice.streams.at(-1).status) voice.listen(); // a swap past the point of no return has ended it
    await sleep(30);
  }
  // Home again, so that one voice can be compared.
  await sleep(1200);
  const { participant_id, room } = await session(user.id);
  await voice.stop();
  assert.equal((await status()).totals.active_sessions, 1);
  const here = await inside(user.room), there = await inside(`${user.room}-c`).catch(() => []);
  assert.deepEqual([...here.filter((id) => id !== user.id), ...there], [participant_id], `in ${room}`);
  await voice.close();
});

test('a cancelled join to another identity leaves the speaking leg as it was', async () => {
  const voice = await speaker('undisturbed', 'data'), { user } = voice;
  await user.mustJoin({ identity: 'a' });
  voice.listen();
  await voice.ready();
  voice.speak();
  for (let i = 0; i < 10; i++)
    await user.join({ identity: 'b', jwt: await token('b', user.room), call: { deadline: Date.now() + 1 + i / 2 } }).then(
      () => voice.listen(), (error) => assert.equal(error.code, 4));
  await sleep(1300);
  await voice.stop();
  await wholeVoice(voice);
  const { participant_id } = await session(user.id);
  await anybody(user.room, user.id, participant_id);
  await voice.close();
});

test('the signalling socket is cut at each message of a first join', async () => {
  const proxy = await signalProxy();
  for (let at = -1; at <= 6; at++) {
    const user = newUser('cut');
    proxy.cutAt = at;
    proxy.cuts = 0;
    const answer = await user.join({ at: proxy.url });
    proxy.cutAt = undefined;
    if (answer.success) {
      await until('the session to be whole', async () => (await user.cloud.getStatus(user.id)).connected && (await session(user.id)).state === 'connected');
      await anybody(user.room, `cloud-agent:${user.id}`);
    } else {
      assert.match(answer.error, /failed to connect to room: /);
      assert.ok(proxy.cuts > 0);
      assert.equal((await user.cloud.getStatus(user.id)).connected, false);
    }
    await user.leave();
    await until('nobody of ours', async () => (await inside(user.room)).length === 0, 40000);
    user.close();
  }
  proxy.close();
});

test('the signalling socket is cut at each message of a resume and of a swap, while the user speaks', async () => {
  const proxy = await signalProxy();
  for (const identity of ['a', 'b']) {
    const voice = await speaker(`cut-${identity}`, 'data'), { user } = voice;
    await user.mustJoin({ identity: 'a', at: proxy.url });
    voice.listen();
    await voice.ready();
    voice.speak();
    for (let at = -1; at <= 5; at++) {
      proxy.cutAt = at;
      const answer = await user.join({ identity, at: proxy.url });
      proxy.cutAt = undefined;
      if (answer.success) voice.listen();
      else assert.match(answer.error, /failed to connect to room: /);
      await until('it to be settled', async () => (await session(user.id)).state === 'connected');
      if (identity === 'b' && answer.success) { // back, with an open line
        assert.equal((await user.join({ identity: 'a', at: proxy.url })).success, true);
        voice.listen();
      }
    }
    await voice.stop();
    await wholeVoice(voice);
    await until('one participant of ours', async () => (await inside(user.room)).filter((id) => id !== user.id).length === 1, 40000);
    await voice.close();
  }
  proxy.close();
});

test('the server is killed in each phase of a join', async () => {
  const proxy = await signalProxy();
  for (const at of [-1, 0, 1, 2, 3]) {
    const user = newUser('killed');
    let killed;
    proxy.cutAt = at;
    proxy.onCut = () => {
      testbed('kill', 'sfu');
      killed = true;
    };
    const began = performance.now(), answer = await user.join({ at: proxy.url });
    proxy.cutAt = proxy.onCut = undefined;
    assert.ok(performance.now() - began < 12000);
    assert.ok(killed || answer.success);
    testbed('start', 'sfu');
    if (answer.success) await until('it to come back by itself', async () => (await session(user.id)).state === 'connected', 30000);
    else assert.match(answer.error, /failed to connect to room: /);
    await user.mustJoin({ at: proxy.url }); // whatever happened, the next one works
    await anybody(user.room, `cloud-agent:${user.id}`);
    await user.leave();
    await anybody(user.room);
    user.close();
  }
  proxy.close();
});

test('two hundred swaps leave no descriptor behind', async () => {
  const user = newUser('descriptors');
  await user.mustJoin({ identity: 'a' });
  const swap = async (i) => user.mustJoin({ identity: i % 4 === 3 ? 'b' : 'a' });
  for (let i = 0; i < 20; i++) await swap(i);
  const before = fds();
  for (let i = 0; i < 200; i++) await swap(i);
  await until('descriptors to settle', () => fds() <= before + 2);
  await user.leave();
  user.close();
});
