// feedback.mjs - which feedback the server may ask of relayd: what the offer and the answer of a real join name, seen by a hop
// between the two that can also make the offer name more.
import net from 'node:net';
import { test } from 'node:test';
import { assert, newUser, session, toneSamples, until } from './world.mjs';
import { SignalRequest, SignalResponse, frame, requests } from './hostile_server.mjs';

const TWCC = 'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01';
const CAPTURE_TIME = 'http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time';

// The client's message as it was before it was masked: with a mask of zeros.
function masked(data) {
  const whole = frame(data), key = 10;
  whole[1] |= 0x80;
  return Buffer.concat([whole.subarray(0, key), Buffer.alloc(4), whole.subarray(key)]);
}

// The server's messages of a connection, its HTTP head left out.
function* responses(state) {
  if (!state.head) {
    const end = state.pending.indexOf('\r\n\r\n');
    if (end < 0) return;
    state.head = true;
    state.pending = state.pending.subarray(end + 4);
  }
  for (;;) {
    const b = state.pending;
    if (b.length < 2) return;
    const coded = b[1], at = coded < 126 ? 2 : coded === 126 ? 4 : 10;
    if (b.length < at) return;
    const length = coded < 126 ? coded : coded === 126 ? b.readUInt16BE(2) : Number(b.readBigUInt64BE(2));
    if (b.length < at + length) return;
    state.pending = b.subarray(at + length);
    if ((b[0] & 15) === 2) yield SignalResponse.decode(b.subarray(at, at + length));
  }
}

// Between relayd and the server: offers and answers are kept, and each offer passes through change(sdp).
async function descriptions(change) {
  const target = new URL(process.env.LIVEKIT_URL), seen = { offers: [], answers: [] };
  const server = net.createServer((client) => {
    const up = net.connect(Number(target.port), target.hostname), down = { pending: Buffer.alloc(0) }, said = { pending: Buffer.alloc(0) };
    const end = () => (client.destroy(), up.destroy());
    for (const socket of [client, up]) socket.on('error', end).on('close', end);
    let upgraded = false;
    client.on('data', (data) => {
      said.pending = Buffer.concat([said.pending, data]);
      if (!upgraded) {
        const head = said.pending.indexOf('\r\n\r\n');
        if (head < 0) return;
        upgraded = true;
        up.write(said.pending.subarray(0, head + 4));
        said.pending = said.pending.subarray(head + 4);
      }
      for (const request of requests(said)) {
        if (request.offer) seen.offers.push((request.offer.sdp = change(request.offer.sdp)));
        up.write(masked(Buffer.from(SignalRequest.encode(request).finish())));
      }
    });
    up.on('data', (data) => {
      client.write(data);
      down.pending = Buffer.concat([down.pending, data]);
      for (const response of responses(down)) if (response.answer) seen.answers.push(response.answer.sdp);
    });
  });
  await new Promise((done) => server.listen(0, process.env.PHONE_HOST, done));
  return Object.assign(seen, { url: `ws://${process.env.PHONE_HOST}:${server.address().port}`, close: () => server.close() });
}

// The lines of a description's audio sections that name a header extension or a kind of feedback.
const audioFeedback = (sdp) => sdp.split(/\r\nm=/).slice(1).filter((section) => section.startsWith('audio'))
  .flatMap((section) => section.split('\r\n').filter((line) => /^a=(extmap:|rtcp-fb:)/.test(line)));

// An offer that takes all there is.
const asking = (sdp) => sdp.replaceAll('a=rtpmap:111 ', [`a=extmap:5 ${TWCC}`, `a=extmap:6 ${CAPTURE_TIME}`,
  ...[111, 63].flatMap((pt) => ['transport-cc', 'nack'].map((kind) => `a=rtcp-fb:${pt} ${kind}`)), 'a=rtpmap:111 '].join('\r\n'));

async function joined(change) {
  const hop = await descriptions(change), user = newUser('feedback'), phone = await user.phone(), speaking = {};
  await phone.publish();
  const speech = phone.speakTrack(toneSamples(48000), speaking);
  await user.mustJoin({ at: hop.url });
  await until('a second of audio', async () => (await session(user.id)).source.packets >= 50);
  await until('an answer that carries the track', () => hop.answers.some((sdp) => /a=ssrc:\d+ msid:/.test(sdp)));
  speaking.stop = true;
  await speech;
  await user.leave();
  await phone.leave();
  user.close();
  hop.close();
  return hop;
}

export function feedbackTests(label) {
  test(`${label}: the server asks for no feedback, as the offer names none`, async (t) => {
    const { offers, answers } = await joined((sdp) => sdp);
    t.diagnostic(`the answers' audio names: ${answers.flatMap(audioFeedback).join(', ') || 'no extension and no feedback'}`);
    assert.ok(offers.length > 0 && answers.length > 0);
    assert.deepEqual(offers.flatMap(audioFeedback), []);
    assert.deepEqual(answers.flatMap(audioFeedback), []);
  });

  test(`${label}: nor would it if an offer named it, beside the capture time and NACK, which it takes`, async (t) => {
    const { offers, answers } = await joined(asking), lines = answers.flatMap(audioFeedback);
    t.diagnostic(`the answers' audio names: ${[...new Set(lines)].join(', ')}`);
    assert.ok(offers.every((sdp) => sdp.includes('a=rtcp-fb:111 transport-cc') && sdp.includes(TWCC)));
    assert.ok(lines.some((line) => line.endsWith(CAPTURE_TIME)) && lines.includes('a=rtcp-fb:111 nack'), lines.join(', '));
    assert.deepEqual(lines.filter((line) => line.endsWith(TWCC) || line.endsWith('transport-cc')), []);
  });
}
