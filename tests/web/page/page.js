// page.js - the page: a screen in the room that shows captions, a voice, a phone to carry it, and buttons that break things.
import { Captions } from '/captions.js';
import { Strip } from '/strip.js';
import { showState } from '/stations.js';

const { Room, RoomEvent, setLogLevel } = globalThis.LivekitClient;
const QUIT_MS = 5000;
const $ = (id) => document.getElementById(id);
const captions = new Captions($('captions')), strip = new Strip($('strip'));
const view = { phone: 'off', phoneError: '', screen: 'off', outbound: null, server: null };
let tickets, voice, phone;
setLogLevel('warn');

function problem(text) {
  $('problem').textContent = text;
  $('problem').hidden = !text;
}

function trouble(text, bad = false) {
  captions.mark(text, bad);
  strip.mark(text.split(/[:,]/)[0]);
}

// The screen: a participant that only watches. Its handler must be there before it joins.
async function watch() {
  const room = new Room({ disconnectOnPageLeave: true });
  room.registerTextStreamHandler('lk.transcription', async (reader) => {
    const { attributes } = reader.info, text = await reader.readAll();
    captions.show(attributes['lk.segment_id'], text, reader.info.attributes['lk.transcription_final'] === 'true');
  });
  const now = (state) => () => {
    view.screen = state;
    render();
  };
  room.on(RoomEvent.SignalReconnecting, now('reconnecting')).on(RoomEvent.Reconnecting, now('reconnecting')).on(RoomEvent.Reconnected, now('on'))
    .on(RoomEvent.Disconnected, () => {
      now('off')();
      watch().catch((error) => problem(`The screen cannot join the room: ${error.message}`));
    });
  await room.connect(tickets.url, tickets.screen, { autoSubscribe: false });
  now('on')();
}

// The phone is a frame; taking it away ends it as force-quitting ends an app.
function startPhone() {
  view.phoneError = '';
  window.phoneTicket = {
    url: tickets.url, token: tickets.phone, voice: voice.track.clone(),
    tell: (state, error = '') => {
      Object.assign(view, { phone: state, phoneError: error });
      render();
    },
  };
  phone = document.createElement('iframe');
  phone.src = '/phone.html';
  phone.title = 'the phone';
  phone.hidden = true;
  document.body.append(phone);
}

function quitPhone() {
  window.phoneTicket.voice.stop();
  phone.remove();
  phone = undefined;
  view.outbound = null;
  view.phone = voice ? 'quit' : 'off';
  render();
}

async function microphone() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 } });
  const context = new AudioContext(), source = context.createMediaStreamSource(stream);
  return { context, source, track: stream.getAudioTracks()[0] };
}

async function sample() {
  const context = new AudioContext(), out = new MediaStreamAudioDestinationNode(context, { channelCount: 1 }), source = context.createBufferSource();
  const gain = new GainNode(context, { gain: 0.6 });
  source.buffer = await context.decodeAudioData(await (await fetch('/sample.wav')).arrayBuffer());
  source.loop = true;
  source.connect(out);
  source.connect(gain).connect(context.destination);
  source.start();
  return { context, source, track: out.stream.getAudioTracks()[0] };
}

async function speak(begin) {
  problem('');
  for (const id of ['microphone', 'sample']) $(id).disabled = true;
  try {
    voice = await begin();
  } catch (error) {
    problem(error.name === 'NotAllowedError' ? 'The browser does not give the microphone: allow it for this page.'
      : error.name === 'NotFoundError' ? 'There is no microphone here: play the sample.' : error.message);
    for (const id of ['microphone', 'sample']) $(id).disabled = false;
    return;
  }
  voice.meter = new AnalyserNode(voice.context, { fftSize: 4096 });
  voice.source.connect(voice.meter);
  startPhone();
  for (const id of ['microphone', 'sample']) Object.assign($(id), { hidden: true, disabled: false });
  $('stop').hidden = false;
}

async function hush() {
  const { context, track } = voice;
  voice = undefined;
  if (phone) {
    await phone.contentWindow.leave?.();
    quitPhone();
  } else {
    view.phone = 'off';
    render();
  }
  track.stop();
  await context.close();
  for (const id of ['microphone', 'sample']) $(id).hidden = false;
  $('stop').hidden = true;
}

function meter() {
  let level = 0;
  if (voice?.meter) {
    const samples = new Float32Array(4096);
    voice.meter.getFloatTimeDomainData(samples);
    level = Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
  }
  strip.level('spoken', level);
  $('meter').style.transform = `scaleX(${Math.min(1, level * 4)})`;
}

async function deed(button) {
  const what = button.dataset.deed;
  problem('');
  button.disabled = true;
  button.classList.add('busy');
  try {
    if (what === 'phone-quit') {
      if (!phone) throw new Error('There is no phone right now: let it speak first.');
      trouble(button.dataset.label);
      quitPhone();
      await new Promise((done) => setTimeout(done, QUIT_MS));
      if (voice && !phone) startPhone();
    } else {
      const answer = await fetch(`/api/do?user=${tickets.user}&what=${what}`, { method: 'POST' });
      if (!answer.ok) throw new Error((await answer.json()).why);
    }
  } catch (error) {
    problem(error.message);
  }
  button.disabled = false;
  button.classList.remove('busy');
}

const render = () => showState(view);

function listen() {
  const events = new EventSource(`/api/events?user=${tickets.user}`);
  events.addEventListener('state', ({ data }) => {
    view.server = JSON.parse(data);
    render();
  });
  events.addEventListener('level', ({ data }) => strip.level('received', JSON.parse(data).cloud));
  events.addEventListener('note', ({ data }) => {
    const { text, mark } = JSON.parse(data);
    if (mark) trouble(text, mark === 'bad');
  });
  events.addEventListener('error', () => {
    view.server = null;
    render();
    if (events.readyState === EventSource.CLOSED) problem('The server of this page has ended: start it again, then reload.');
  });
}

$('microphone').addEventListener('click', () => speak(microphone));
$('sample').addEventListener('click', () => speak(sample));
$('stop').addEventListener('click', hush);
for (const button of document.querySelectorAll('[data-deed]')) button.addEventListener('click', () => deed(button));
setInterval(meter, 100);
setInterval(async () => {
  view.outbound = phone ? ((await phone.contentWindow.outbound?.().catch(() => null)) ?? null) : null;
}, 500);

try {
  tickets = await (await fetch('/api/begin', { method: 'POST' })).json();
  $('service').textContent = tickets.service;
  listen();
  await watch();
  document.body.dataset.ready = 'true';
} catch (error) {
  problem(`The demo does not begin: ${error.message}`);
}
