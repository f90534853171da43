// outside.mjs - a way out of relayd's namespace for one TCP destination, for a demo with the real Soniox: the two ends meet at a Unix
// socket, which network namespaces share.
//
//   node outside.mjs out SOCKET HOST PORT     in the machine's own network: what comes by the socket goes to HOST:PORT
//   node outside.mjs in SOCKET PORT           in relayd's: what comes to 127.0.0.1:PORT goes to the socket
//
// With --say at the end it prints a line when it listens. SIGHUP resets every connection there is.
import net from 'node:net';

const [end, socket, ...where] = process.argv.slice(2);
const target = end === 'out' ? { host: where[0], port: Number(where[1]) } : { path: socket };
const open = new Set();
const server = net.createServer((from) => {
  const to = net.connect(target);
  from.pipe(to).pipe(from);
  open.add(from);
  from.on('close', () => open.delete(from));
  from.on('error', () => to.destroy());
  to.on('error', () => from.destroy());
});
server.listen(end === 'out' ? { path: socket } : { host: '127.0.0.1', port: Number(where[0]) }, () => {
  if (where.includes('--say')) console.log('listening');
});
process.on('SIGHUP', () => open.forEach((from) => from.resetAndDestroy()));
