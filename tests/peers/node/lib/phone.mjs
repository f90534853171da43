// phone.mjs - a phone: LiveKit's own SDK, speaking as a microphone track or as data packets.
import './quiet.mjs';
import { AudioFrame, AudioSource, LocalAudioTrack, Room, TrackPublishOptions, TrackSource } from '@livekit/rtc-node';
import { numberedFrame } from './signal.mjs';
import { rooms } from './tokens.mjs';

const FRAME_MS = 20;

// Calls fn(n) for n = 0, 1, ... every 20 ms of real time, catching up after a stall, until it returns false.
async function paced(fn) {
  const began = performance.now();
  for (let n = 0; ; n++) {
    const wait = began + n * FRAME_MS - performance.now();
    if (wait > 1) await new Promise((done) => setTimeout(done, wait));
    if ((await fn(n)) === false) return;
  }
}

export class Phone {
  constructor(identity) {
    this.identity = identity;
    this.room = new Room();
    this.seqByte = 1; // as the app: one counter for its life, modulo 256
    this.dataFrame = 0;
    this.trackFrames = 0;
  }

  async join(url, token) {
    await this.room.connect(url, token, { autoSubscribe: false, dynacast: false });
    return this;
  }

  // red: whether each packet carries a copy of the one before; dtx: whether silence is left out. Both are the SDK's default.
  async publish({ red = true, dtx = true } = {}) {
    this.source = new AudioSource(48000, 1);
    this.track = LocalAudioTrack.createAudioTrack('microphone', this.source);
    const options = new TrackPublishOptions();
    options.source = TrackSource.SOURCE_MICROPHONE;
    options.red = red;
    options.dtx = dtx;
    this.publication = await this.room.localParticipant.publishTrack(this.track, options);
    return this.publication.sid;
  }

  async unpublish() {
    await this.room.localParticipant.unpublishTrack(this.publication.sid);
    this.publication = undefined;
  }

  async republish() {
    await this.unpublish();
    return this.publish();
  }

  // This SDK has no mute of its own: the server asks it to, as a moderator would.
  setMuted(muted) {
    return rooms().mutePublishedTrack(this.room.name, this.identity, this.publication.sid, muted);
  }

  // Speaks samples of 48 kHz (array, or generator for an endless voice) until they end or speaking.stop is set; with loop an array
  // of whole frames never ends.
  async speakTrack(samples, speaking = {}, { loop = false } = {}) {
    const per = (48000 * FRAME_MS) / 1000;
    const iterator = Symbol.iterator in samples && !ArrayBuffer.isView(samples) ? samples[Symbol.iterator]() : null;
    await paced(async (n) => {
      const pcm = new Int16Array(per);
      if (iterator) for (let i = 0; i < per; i++) pcm[i] = iterator.next().value;
      else {
        if (!loop && n * per >= samples.length) return false;
        const at = (n * per) % samples.length;
        pcm.set(samples.subarray(at, at + per));
      }
      if (speaking.stop || !this.source) return false;
      await this.source.captureFrame(new AudioFrame(pcm, 48000, 1, per));
      this.trackFrames++;
    });
  }

  // One lossy data packet: sequence byte, then PCM.
  async sendData(pcm) {
    const packet = new Uint8Array(1 + pcm.byteLength);
    packet[0] = this.seqByte;
    this.seqByte = (this.seqByte + 1) & 255;
    packet.set(new Uint8Array(pcm.buffer, pcm.byteOffset, pcm.byteLength), 1);
    await this.room.localParticipant.publishData(packet, { reliable: false });
  }

  // Numbered frames as data packets, 20 ms each, until count or speaking.stop.
  async speakData(count = Infinity, speaking = {}) {
    await paced(async (n) => {
      if (n >= count || speaking.stop) return false;
      await this.sendData(numberedFrame(this.dataFrame++));
    });
  }

  // Samples of 16 kHz as data packets.
  async speakDataPcm(pcm) {
    await paced(async (n) => {
      if (n * 320 >= pcm.length) return false;
      await this.sendData(pcm.slice(n * 320, (n + 1) * 320));
    });
  }

  async leave() {
    this.source = undefined;
    await this.room.disconnect();
  }
}
