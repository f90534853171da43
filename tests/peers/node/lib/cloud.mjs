// cloud.mjs - the cloud as production has it: stock grpc-js, no deadlines, the first message an empty chunk.
import { fileURLToPath } from 'node:url';
import path from 'node:path';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

const protoRoot = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../../proto');

export class Cloud {
  constructor(address = process.env.BRIDGE_ADDR, options = {}) {
    const definition = loader.loadSync(path.join(protoRoot, 'mentra/livekit_bridge.proto'), {
      keepCase: true, longs: String, enums: String, defaults: true, oneofs: true });
    const { LiveKitBridge } = grpc.loadPackageDefinition(definition).mentra.livekit.bridge;
    this.client = new LiveKitBridge(address, grpc.credentials.createInsecure(), options);
  }

  call(method, request, options = {}) {
    return new Promise((resolve, reject) => {
      this.client[method](request, new grpc.Metadata(), options, (error, answer) => (error ? reject(error) : resolve(answer)));
    });
  }

  joinRoom(user_id, room_name, token, livekit_url, target_identity, options) {
    return this.call('JoinRoom', { user_id, room_name, token, livekit_url, target_identity }, options);
  }

  leaveRoom(user_id, reason = 'test') {
    return this.call('LeaveRoom', { user_id, reason });
  }

  getStatus(user_id) {
    return this.call('GetStatus', { user_id });
  }

  healthCheck() {
    return this.call('HealthCheck', {});
  }

  // Opens StreamAudio. chunks grows; ended resolves with the final status.
  streamAudio(user_id) {
    const call = this.client.StreamAudio();
    const stream = { call, chunks: [], bytes: 0, onChunk: null };
    stream.ended = new Promise((resolve) => {
      call.on('data', (chunk) => {
        stream.chunks.push(chunk);
        stream.bytes += chunk.pcm_data.length;
        stream.onChunk?.(chunk);
      });
      call.on('error', () => {});
      call.on('status', resolve);
    });
    call.write({ pcm_data: Buffer.alloc(0), sample_rate: 16000, channels: 1, timestamp_ms: Date.now(), user_id, track_id: 0 });
    return stream;
  }

  close() {
    this.client.close();
  }
}

// All received samples in one array.
export function samplesOf(stream) {
  const bytes = Buffer.concat(stream.chunks.map((chunk) => chunk.pcm_data));
  return new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + (bytes.length & ~1)));
}

// Resolves when test() holds; rejects with what after ms.
export async function until(what, test, ms = 30000) {
  const limit = performance.now() + ms;
  for (;;) {
    const value = await test();
    if (value) return value;
    if (performance.now() > limit) throw new Error(`waited ${ms} ms for ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}
