// demo.mjs - `tests/demo-web` run by a test: started, its page in Chromium with a microphone that hears a file, ended by Ctrl-C.
import path from 'node:path';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { execFileSync, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { until } from '../../peers/node/lib/cloud.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

// url is the page's; inWorld tells that only a browser inside the world reaches it. stop() resolves with the exit code.
export async function startDemo(name, environment = {}) {
  const { SONIOX_API_KEY: _, ...own } = process.env; // a test does not speak to Soniox because somebody has a key
  const child = spawn(path.join(root, 'tests/demo-web'), ['--name', name],
    { cwd: root, detached: true, stdio: ['ignore', 'pipe', 'inherit'], env: { ...own, DEMO_WEB_PORT: '0', ...environment } });
  const demo = { child, out: '' };
  child.stdout.on('data', (data) => (demo.out += data));
  demo.ended = new Promise((resolve) => child.on('close', resolve));
  const url = () => /http:\/\/127\.0\.0\.1:\d+\//.exec(demo.out)?.[0];
  await until('the page', () => url() || child.exitCode !== null, 60000);
  if (!url()) throw new Error(`demo-web ended: ${demo.out}`);
  demo.url = url();
  demo.inWorld = demo.out.includes('inside the world');
  demo.stop = () => {
    process.kill(-child.pid, 'SIGINT'); // as a terminal does: to the whole group
    return demo.ended;
  };
  return demo;
}

// The demo's page; microphone is the WAV file it hears, over and over.
export async function openPage(demo, name, microphone) {
  const folder = mkdtempSync('/tmp/relay-web-');
  let executablePath = execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim();
  if (demo.inWorld) {
    const wrapper = path.join(folder, 'chromium');
    writeFileSync(wrapper, `#!/bin/sh\nexec ${root}/tests/testbed --name ${name} exec phones ${executablePath} "$@"\n`);
    chmodSync(wrapper, 0o755);
    executablePath = wrapper;
  }
  const context = await chromium.launchPersistentContext(path.join(folder, 'profile'), {
    executablePath, headless: true, chromiumSandbox: false, reducedMotion: 'reduce', viewport: { width: 1360, height: 880 },
    args: ['--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', ...(microphone ? [`--use-file-for-fake-audio-capture=${microphone}`] : []),
      '--allow-loopback-in-peer-connection', '--autoplay-policy=no-user-gesture-required'] });
  const page = context.pages()[0], errors = [];
  page.on('pageerror', (error) => errors.push(error.message));
  await page.goto(demo.url);
  return { page, errors, close: async () => {
    await context.close();
    rmSync(folder, { recursive: true, force: true });
  } };
}
