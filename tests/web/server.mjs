// server.mjs - the server of `make demo-web`: the page, a stream of events for each visitor, and a button's worth of trouble.
//
// tests/demo-web starts it in a world of tests/testbed; it prints "page URL" and ends on SIGINT and SIGTERM.
import http from 'node:http';
import path from 'node:path';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { speech } from '../e2e/lib/captions.mjs';
import { wavBytes } from '../peers/node/lib/wav.mjs';
import { blip, healAll, lossy } from './lib/network.mjs';
import { openWay, startSoniox } from './lib/soniox.mjs';
import { Visit } from './lib/visit.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const page = (name) => path.join(here, 'page', name);
const port = Number(process.env.DEMO_WEB_PORT ?? 8080);
const folder = path.dirname(process.env.RELAYD_LOG);
const AWAY_MS = 5000; // a visitor who is gone so long does not come back

const files = {
  '/': ['text/html', page('index.html')], '/style.css': ['text/css', page('style.css')],
  '/page.js': ['text/javascript', page('page.js')], '/strip.js': ['text/javascript', page('strip.js')],
  '/captions.js': ['text/javascript', page('captions.js')], '/stations.js': ['text/javascript', page('stations.js')],
  '/phone.html': ['text/html', page('phone.html')], '/phone.js': ['text/javascript', page('phone.js')],
  '/livekit-client.js': ['text/javascript', path.join(here, 'node_modules/livekit-client/dist/livekit-client.umd.js')],
};
const sample = wavBytes(speech(5).pcm);
const soniox = await startSoniox(folder);
const visits = new Map();

// What a button does: null when it was done, else why not.
const deeds = {
  'blip': (visit) => {
    if (!blip()) return 'The network is gone already.';
    visit.note('network between phone and server: gone for 3 s', 'trouble');
    return null;
  },
  'lossy': (visit) => {
    if (!lossy()) return 'It loses packets already.';
    visit.note('network before relayd: every tenth packet lost, for 6 s', 'trouble');
    return null;
  },
  'swap-same': (visit) => {
    visit.note('JoinRoom again, same identity', 'trouble');
    return visit.swap(true);
  },
  'swap-other': (visit) => {
    visit.note('JoinRoom again, another identity', 'trouble');
    return visit.swap(false);
  },
  'cloud-kill': (visit) => {
    const why = visit.killCloud();
    if (why === null) visit.note('cloud client killed, back in 3 s', 'trouble');
    return why;
  },
  'soniox-cut': (visit) => {
    if (soniox.cut() === 0) return 'There is no connection to Soniox right now.';
    visit.note('socket to Soniox cut', 'trouble');
    return null;
  },
  'soniox-stall': (visit) => {
    if (soniox.stall() === 0) return 'There is no connection to Soniox right now.';
    visit.note('Soniox stalled: it reads nothing and says nothing', 'trouble');
    return null;
  },
};

const json = (response, code, body) => {
  response.writeHead(code, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(JSON.stringify(body));
};

function events(request, response, visit) {
  clearTimeout(visit.away);
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  const listener = (kind, data) => response.write(`event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`);
  visit.listeners.add(listener);
  listener('hello', { user: visit.user });
  request.on('close', () => {
    visit.listeners.delete(listener);
    if (visit.listeners.size === 0) visit.away = setTimeout(() => end(visit), AWAY_MS);
  });
}

async function end(visit) {
  visits.delete(visit.user);
  await visit.close();
}

async function answer(request, response) {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  const visit = visits.get(searchParams.get('user'));
  if (request.method === 'GET' && files[pathname]) {
    const [type, file] = files[pathname];
    return response.writeHead(200, { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-cache' }).end(readFileSync(file));
  }
  if (request.method === 'GET' && pathname === '/sample.wav')
    return response.writeHead(200, { 'content-type': 'audio/wav' }).end(sample);
  if (request.method === 'POST' && pathname === '/api/begin') {
    const begun = new Visit();
    visits.set(begun.user, begun);
    begun.away = setTimeout(() => end(begun), AWAY_MS);
    return json(response, 200, { ...(await begun.tickets()), service: soniox.name, real: soniox.real });
  }
  if (!visit) return json(response, 404, { why: 'This page is from an earlier run: reload it.' });
  if (request.method === 'GET' && pathname === '/api/events') return events(request, response, visit);
  const deed = Object.hasOwn(deeds, searchParams.get('what')) ? deeds[searchParams.get('what')] : null;
  if (request.method === 'POST' && pathname === '/api/do' && deed) {
    const why = await deed(visit);
    return json(response, why === null ? 200 : 409, { why });
  }
  return json(response, 404, { why: 'There is no such thing.' });
}

// Other pages in the same browser must not press these buttons; a name that only points here is another page, too.
const own = (host) => /^(127\.0\.0\.1|localhost)(:\d+)?$/.test(host ?? '');
const stranger = ({ headers }) => !own(headers.host) || (headers.origin && !own(headers.origin.replace(/^http:\/\//, '')));

const server = http.createServer((request, response) => {
  if (stranger(request)) return json(response, 403, { why: 'Only for this page.' });
  answer(request, response).catch((error) => {
    console.error(`demo-web: ${error.stack}`);
    if (response.headersSent) response.end();
    else json(response, 500, { why: error.message });
  });
});

const ways = [];
async function listen() {
  if (process.env.HOST_ADDR) {
    await new Promise((done, failed) => server.on('error', failed).listen(port, '127.0.0.1', done));
    return server.address().port;
  }
  // No way from this machine's network into the world: the page goes there, and so must the browser.
  const socket = path.join(folder, 'page.sock');
  await new Promise((done, failed) => server.on('error', failed).listen(socket, done));
  ways.push(await openWay('phones', port || 8080, socket));
  return port || 8080;
}

const at = await listen().catch((error) => {
  console.error(error.code === 'EADDRINUSE' ? `demo-web: port ${port} is taken: DEMO_WEB_PORT chooses another` : `demo-web: ${error.message}`);
  soniox.stop();
  process.exit(1);
});
let ending = false;
async function stop() {
  if (ending) return;
  ending = true;
  healAll();
  server.close();
  await Promise.all([...visits.values()].map(end));
  for (const way of ways) way.kill();
  soniox.stop();
  process.exit(0);
}
process.on('SIGINT', stop).on('SIGTERM', stop);
// Started by a shell that was killed, nobody would tell: the port would stay taken.
const parent = process.ppid;
setInterval(() => process.ppid !== parent && stop(), 1000);
console.log(`page http://127.0.0.1:${at}/`);
