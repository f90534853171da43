// proxy.mjs - a TCP hop before the signalling server that counts what the server says and can cut the line at any message.
import net from 'node:net';

// Counts whole WebSocket messages (unmasked, as servers send them) after the HTTP head.
class Counter {
  constructor() {
    this.rest = Buffer.alloc(0);
    this.head = false;
    this.messages = 0;
  }

  // Returns how many bytes of data may pass so that at most limit messages have passed whole; 0 messages: the head alone.
  take(data, limit) {
    let passed = 0, buffer = Buffer.concat([this.rest, data]);
    const before = this.rest.length;
    for (;;) {
      const length = this.next(buffer);
      if (length === 0 || (this.head && this.messages >= limit)) break;
      if (this.head) this.messages++;
      this.head = true;
      buffer = buffer.subarray(length);
      passed += length;
    }
    this.rest = buffer;
    return Math.max(0, passed - before);
  }

  next(buffer) {
    if (!this.head) {
      const end = buffer.indexOf('\r\n\r\n');
      return end < 0 ? 0 : end + 4;
    }
    if (buffer.length < 2) return 0;
    let length = buffer[1] & 127, at = 2;
    if (length === 126) [length, at] = buffer.length < 4 ? [Infinity, 4] : [buffer.readUInt16BE(2), 4];
    else if (length === 127) [length, at] = buffer.length < 10 ? [Infinity, 10] : [Number(buffer.readBigUInt64BE(2)), 10];
    return buffer.length >= at + length ? at + length : 0;
  }
}

// proxy.cutAt = n: the next connections are reset after n messages of the server (0: after its HTTP answer); -1: before it.
// proxy.onCut: called right then. undefined: everything passes.
export async function signalProxy() {
  const target = new URL(process.env.LIVEKIT_URL), proxy = { cutAt: undefined, onCut: undefined, cuts: 0 };
  const server = net.createServer((client) => {
    const limit = proxy.cutAt, up = net.connect(Number(target.port), target.hostname), counter = new Counter();
    const end = () => {
      client.destroy();
      up.destroy();
    };
    const cut = async () => {
      proxy.cuts++;
      await proxy.onCut?.();
      client.resetAndDestroy();
      up.destroy();
    };
    client.on('error', end).on('close', end);
    up.on('error', end).on('close', end);
    client.pipe(up, { end: false });
    let done = false;
    up.on('data', (data) => {
      if (done) return;
      if (limit === undefined) {
        client.write(data);
        return;
      }
      const bytes = limit < 0 ? 0 : counter.take(data, limit);
      if (bytes > 0) client.write(data.subarray(0, bytes));
      if (limit >= 0 && counter.messages < limit) {
        client.write(data.subarray(bytes));
        return;
      }
      done = counter.head || limit < 0;
      if (done) cut();
    });
  });
  await new Promise((done) => server.listen(0, process.env.PHONE_HOST, done));
  proxy.url = `ws://${process.env.PHONE_HOST}:${server.address().port}`;
  proxy.close = () => server.close();
  return proxy;
}
