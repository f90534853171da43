// phone.js - the phone: a frame of its own, so that it can be force-quit as an app is: taken away without a goodbye.
const { LocalAudioTrack, Room, RoomEvent, Track, setLogLevel } = globalThis.LivekitClient;
const { url, token, voice, tell } = parent.phoneTicket;
setLogLevel('warn');
const room = new Room({ disconnectOnPageLeave: false, publishDefaults: { red: true, dtx: true } });
room.on(RoomEvent.SignalReconnecting, () => tell('reconnecting')).on(RoomEvent.Reconnecting, () => tell('reconnecting'))
  .on(RoomEvent.Reconnected, () => tell('speaking')).on(RoomEvent.Disconnected, () => tell('disconnected'));

globalThis.leave = () => room.disconnect();

// What goes out, as the browser itself counts it.
globalThis.outbound = async () => {
  const sender = room.localParticipant.getTrackPublication(Track.Source.Microphone)?.track?.sender;
  if (!sender) return null;
  const stats = await sender.getStats();
  const own = [...stats.values()].find(({ type }) => type === 'outbound-rtp');
  return own && { packets: own.packetsSent, codec: stats.get(own.codecId)?.mimeType?.replace('audio/', '') };
};

tell('joining');
try {
  await room.connect(url, token, { autoSubscribe: false });
  await room.localParticipant.publishTrack(new LocalAudioTrack(voice, undefined, true), { source: Track.Source.Microphone, name: 'microphone' });
  tell('speaking');
} catch (error) {
  tell('disconnected', error.message);
}
