// service.test.mjs - `make demo-web` with a key in the environment: relayd speaks TLS to Soniox' own name. At the other end is the
// stand-in with a certificate for that name, since no test has a key.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import { once } from 'node:events';
import { openPage, startDemo } from './lib/demo.mjs';

const NAME = 'web-service';
const HOST = 'stt-rt.soniox.com';
const folder = mkdtempSync('/tmp/relay-web-service-'), key = path.join(folder, 'key.pem'), certificate = path.join(folder, 'certificate.pem');
let standin, demo, browser, page;

before(async () => {
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', `/CN=${HOST}`,
    '-addext', `subjectAltName=DNS:${HOST}`, '-keyout', key, '-out', certificate], { stdio: 'ignore' });
  const program = ['build/release', 'build/dev'].map((build) => `${build}/soniox-standin`).find(existsSync);
  standin = spawn(program, ['--recogniser', 'sphinx', '--tls', certificate, key], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(standin.stdout, 'data'), port = /listening (\d+)/.exec(line)[1];
  demo = await startDemo(NAME, { SONIOX_API_KEY: 'standin-key', DEMO_SONIOX: `127.0.0.1:${port}`, DEMO_SONIOX_CA: certificate });
  browser = await openPage(demo, NAME);
  page = browser.page;
  await page.waitForSelector('body[data-ready=true]', { timeout: 20000 });
});
after(async () => {
  await browser?.close();
  if (demo?.child.exitCode === null) await demo.stop();
  standin?.kill('SIGTERM');
  rmSync(folder, { recursive: true });
});

const finals = (wanted) => page.waitForFunction((n) => document.querySelectorAll('#captions [data-final=true]').length >= n, wanted,
  { timeout: 60000, polling: 100 });
const connections = (wanted) => page.waitForFunction(
  (n) => Number(document.querySelector('#soniox [data-of=connections]').textContent) >= n, wanted, { timeout: 40000, polling: 100 });

test('words come from the service, and after its line was cut and had stalled', async () => {
  await page.click('#sample');
  await finals(1);
  assert.match(await page.textContent('#captions [data-final=true]'), /leisure to consider/);
  await page.click('[data-deed=soniox-cut]');
  await connections(2);
  await page.click('[data-deed=soniox-stall]');
  await connections(3);
  await finals(3);
  assert.equal(await page.textContent('#sum-lost'), '0 ms');
  assert.deepEqual(browser.errors, []);
});

test('it ends as the other one does', async () => {
  await browser.close();
  browser = undefined;
  assert.equal(await demo.stop(), 0);
});
