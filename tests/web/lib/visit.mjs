// visit.mjs - one visitor of the page: a user of relayd, a cloud that listens to it, and what relayd says about both.
import path from 'node:path';
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ask, session, token } from '../../e2e/lib/world.mjs';
import { captionState } from '../../e2e/lib/captions.mjs';

const cloudProgram = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../cloud.mjs');
const STATE_MS = 250;
const CLOUD_AWAY_MS = 3000;
const TICKET_S = 12 * 3600; // a page may be left open

let visits = 0;

export class Visit {
  constructor() {
    this.user = `guest-${process.pid}-${++visits}`;
    this.listeners = new Set();
    this.identity = this.ownIdentity();
    this.takeovers = 0;
    this.cloud = { alive: false, bytes: 0, starts: 0 };
    this.startCloud();
    this.timer = setInterval(() => this.tellState(), STATE_MS);
  }

  ownIdentity() {
    return `cloud-agent:${this.user}`;
  }

  // What the page needs to be a phone, and to watch.
  async tickets() {
    return {
      user: this.user, url: process.env.LIVEKIT_URL,
      phone: await token(this.user, this.user, { ttl: TICKET_S }),
      screen: await token(`screen:${this.user}`, this.user, { ttl: TICKET_S, grant: { canPublish: false } }),
    };
  }

  tell(kind, data) {
    for (const listener of this.listeners) listener(kind, data);
  }

  note(text, mark) {
    this.tell('note', { text, mark, at: Date.now() });
  }

  startCloud() {
    if (this.closed) return;
    const child = fork(cloudProgram, [this.user, this.identity], { detached: true }); // Ctrl-C reaches us, we end it
    this.child = child;
    this.cloud.starts++;
    child.on('message', (message) => {
      if (child !== this.child) return;
      if (message.joined) this.cloudJoined(message);
      else if (message.failed) this.cloudFailed(message.failed);
      else {
        this.cloud.bytes = message.bytes;
        this.tell('level', { cloud: message.level });
      }
    });
    child.on('error', () => {}); // told something while it died: its exit says the rest
    child.on('exit', () => {
      if (child !== this.child) return;
      this.cloud.alive = false;
      if (this.closed) return;
      setTimeout(() => this.startCloud(), CLOUD_AWAY_MS);
    });
  }

  cloudJoined({ joined, ms }) {
    this.identity = joined;
    this.cloud.alive = true;
    this.note(`JoinRoom answered after ${ms} ms, as ${joined}`);
    this.swapDone?.();
  }

  cloudFailed(why) {
    this.note(`JoinRoom failed: ${why}`, 'bad');
    this.swapDone?.(why);
    this.child.kill('SIGKILL'); // it starts again, and asks again
  }

  killCloud() {
    if (!this.cloud.alive) return 'The cloud is not there right now.';
    this.cloud.alive = false;
    this.child.kill('SIGKILL');
    return null;
  }

  // Another JoinRoom for the same user, by the same participant or by another one.
  async swap(same) {
    if (!this.cloud.alive) return 'The cloud is not there right now.';
    if (this.swapDone) return 'A swap is under way.';
    const as = same ? this.identity : `${this.ownIdentity()}:${++this.takeovers}`;
    const done = new Promise((resolve) => (this.swapDone = resolve));
    this.child.send({ join: as });
    const why = await done;
    this.swapDone = undefined;
    return why ?? null;
  }

  async tellState() {
    if (this.listeners.size === 0) return;
    const [relayd, own, captions, swaps] = await Promise.all([
      ask('GetStatus').catch(() => null), session(this.user).catch(() => null), captionState(this.user).catch(() => null),
      ask('ListSwaps', { user_id: this.user, limit: 1 }).catch(() => ({ swaps: [] })),
    ]);
    this.tell('state', {
      relayd: relayd && { health: relayd.health, reasons: relayd.reasons, latency: relayd.latency },
      session: own, captions: captions?.exists ? captions : null, swap: swaps.swaps[0] ?? null,
      cloud: { alive: this.cloud.alive, bytes: this.cloud.bytes, starts: this.cloud.starts, identity: this.identity },
    });
  }

  async close() {
    this.closed = true;
    clearInterval(this.timer);
    const child = this.child, ended = new Promise((done) => child.on('exit', done));
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.send({ leave: true });
    const limit = setTimeout(() => child.kill('SIGKILL'), 3000);
    await ended;
    clearTimeout(limit);
  }
}
