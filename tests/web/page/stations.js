// stations.js - the way of the voice: what each station is doing, in a word, a colour and a few figures.
const station = (id) => document.getElementById(id);
const FRESH_MS = 1500; // a packet every 20 ms, or every 400 ms of silence

// audio: it comes to this station now.
function show(id, state, now, figures = {}, audio = false) {
  const card = station(id);
  card.dataset.state = state;
  card.dataset.audio = String(audio);
  card.querySelector('.now').textContent = now;
  for (const [name, value] of Object.entries(figures)) card.querySelector(`[data-of="${name}"]`).textContent = value;
}

const count = (n) => Number(n ?? 0).toLocaleString('en');
const ms = (us) => `${(us / 1000).toFixed(us < 10000 ? 1 : 0)} ms`;

const phoneStates = {
  off: ['off', 'waits for a voice'], joining: ['trouble', 'joins the room'], speaking: ['flow', 'speaking'],
  reconnecting: ['trouble', 'reconnecting'], disconnected: ['broken', 'out of the room'], quit: ['broken', 'force-quit'],
};

function showPhone({ phone, phoneError, outbound }) {
  const [state, now] = phoneStates[phone];
  show('phone', state, phoneError || now, { packets: outbound ? count(outbound.packets) : '–', codec: outbound?.codec ?? '–' });
}

function showLivekit({ screen, phone }, session) {
  const troubled = screen === 'reconnecting' || phone === 'reconnecting';
  show('livekit', troubled ? 'trouble' : screen === 'on' ? 'flow' : 'broken', troubled ? 'this browser cannot reach it' : screen === 'on' ? 'room is open' : 'not connected',
    { version: session?.livekit_version || '–', rtt: session?.transport?.rtt_us ? ms(session.transport.rtt_us) : '–' },
    !troubled && phone === 'speaking');
}

const swapText = (swap) => (swap
  ? `last swap: ${swap.kind}, ${swap.result}, ${swap.frames_lost} lost, ${swap.frames_doubled} doubled, longest gap ${ms(swap.gap_us)}` : '');

const hears = (session) => session?.connected && session.source.last_packet_age_ms >= 0 && session.source.last_packet_age_ms < FRESH_MS;

function showRelayd({ phone }, relayd, session, swap) {
  if (!relayd || !session) {
    show('relayd', relayd ? 'off' : 'broken', relayd ? 'no session' : 'not running');
    return;
  }
  const { source } = session, heard = hears(session);
  const [state, now] = !session.connected ? ['trouble', session.state] : heard ? ['flow', 'hears the phone']
    : session.target_present ? ['trouble', 'joined, nothing arrives'] : [phone === 'off' ? 'off' : 'trouble', 'joined, waits for the phone'];
  show('relayd', state, now, {
    frames: count(source.frames), repaired: count(source.repaired_red), lost: count(source.lost), swaps: count(session.swaps), swap: swapText(swap),
  }, heard);
}

function showCloud(cloud, session) {
  const attached = cloud.alive && session?.stream.attached;
  const [state, now] = !cloud.alive ? ['broken', 'away'] : attached ? ['flow', 'listening'] : ['trouble', 'no stream'];
  show('cloud', state, now, { bytes: `${count(Math.round(cloud.bytes / 1000))} kB`, starts: count(cloud.starts) }, attached && hears(session));
}

const sonioxStates = { healthy: 'flow', silent: 'flow', starved: 'trouble', stalled: 'broken' };

function showSoniox(captions, session) {
  if (!captions) {
    show('soniox', 'off', 'not asked yet');
    return;
  }
  const state = captions.state === 'live' ? sonioxStates[captions.health] ?? 'trouble' : captions.state === 'idle' ? 'off' : 'trouble';
  show('soniox', state, captions.state === 'live' ? `live, ${captions.health}` : captions.state,
    { connections: count(captions.connections), backlog: `${count(captions.backlog_ms)} ms`, sentence: captions.sentence },
    captions.state === 'live' && captions.health !== 'stalled' && hears(session));
}

function showSums(relayd, captions) {
  const sums = { segments: count(captions?.segments), lost: `${count((captions?.lost_ms ?? 0) + (captions?.uncertain_ms ?? 0))} ms`, replayed: `${count(captions?.replayed_ms)} ms`,
    latency: relayd?.latency.count ? `${count(relayd.latency.p50_us)} µs` : '–' };
  for (const [name, value] of Object.entries(sums)) document.getElementById(`sum-${name}`).textContent = value;
}

export function showState(view) {
  const { relayd, session, captions, cloud, swap } = view.server ?? { cloud: { alive: false, bytes: 0, starts: 0 } };
  showPhone(view);
  showLivekit(view, session);
  showRelayd(view, relayd, session, swap);
  showCloud(cloud, session);
  showSoniox(captions, session);
  showSums(relayd, captions);
}
