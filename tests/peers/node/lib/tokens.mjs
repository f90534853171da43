// tokens.mjs - access tokens and room administration with LiveKit's own server SDK.
import { AccessToken, RoomServiceClient } from 'livekit-server-sdk';

const key = () => process.env.LIVEKIT_API_KEY;
const secret = () => process.env.LIVEKIT_API_SECRET;

// A token for identity in room; ttl in seconds (negative: expired), grant adds to or overrides the video grant.
export async function token(identity, room, { ttl = 3600, grant = {}, keySecret } = {}) {
  const access = new AccessToken(key(), keySecret ?? secret(), { identity, ttl });
  access.addGrant({ roomJoin: true, room, canPublish: true, canSubscribe: true, canPublishData: true, ...grant });
  return access.toJwt();
}

export function rooms() {
  return new RoomServiceClient(process.env.LIVEKIT_URL.replace(/^ws/, 'http'), key(), secret());
}
