// web.test.mjs - the page of `make demo-web` in Chromium: speech into its microphone, words in its captions, and every button.
import { test, before, after, afterEach } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { until } from '../peers/node/lib/cloud.mjs';
import { readWav, writeWav } from '../peers/node/lib/wav.mjs';
import { openPage, startDemo } from './lib/demo.mjs';

const NAME = 'web-test';
const PAUSE_MS = 1200; // 500 ms of silence end a sentence, and Opus and the browser take of them
const folder = mkdtempSync('/tmp/relay-web-test-'), microphone = path.join(folder, 'microphone.wav');
let demo, browser, page, periodMs;

// One short LibriVox sentence and a pause, over and over: every period of it is one final caption.
function writeMicrophone() {
  const files = execFileSync('dpkg', ['-L', 'pocketsphinx-testdata'], { encoding: 'utf8' }).split('\n').filter((file) => /librivox.*\.wav$/.test(file)).sort();
  const sentence = readWav(files[1]).pcm, pcm = new Int16Array(sentence.length + PAUSE_MS * 16);
  pcm.set(sentence);
  // The pause is a quiet room: in digital silence the browser sends a packet every 400 ms, and RED cannot reach that far back.
  for (let i = sentence.length; i < pcm.length; i++) pcm[i] = ((i * 7919) % 33) - 16;
  writeWav(microphone, pcm);
  return pcm.length / 16;
}

before(async () => {
  periodMs = writeMicrophone();
  demo = await startDemo(NAME);
  browser = await openPage(demo, NAME, microphone);
  page = browser.page;
  await page.waitForSelector('body[data-ready=true]', { timeout: 20000 });
});
after(async () => {
  await browser?.close();
  if (demo?.child.exitCode === null) await demo.stop();
  rmSync(folder, { recursive: true });
});

// What the page showed when something did not come.
afterEach(async (context) => {
  if (context.passed === false && browser) console.log(await page.innerText('main'));
});

const finals = () => page.$$eval('#captions [data-final=true]', (all) => all.map((element) => element.textContent));
const figure = async (station, name) => Number((await page.textContent(`#${station} [data-of=${name}]`)).replace(/[^0-9]/g, ''));
const state = (station, wanted, timeout = 15000) => page.waitForSelector(`#${station}[data-state=${wanted}]`, { timeout });
const press = (deed) => page.click(`[data-deed=${deed}]:not(:disabled)`);
const atLeast = (station, name, wanted) => page.waitForFunction(
  ([id, of, least]) => Number(document.querySelector(`#${id} [data-of=${of}]`).textContent.replace(/[^0-9]/g, '')) >= least,
  [station, name, wanted], { timeout: 40000, polling: 100 });
const words = (wanted) => page.waitForFunction((n) => document.querySelectorAll('#captions [data-final=true]').length >= n, wanted,
  { timeout: 60000, polling: 100 });
const marked = (text) => page.waitForFunction((wanted) => [...document.querySelectorAll('#captions .mark')].some((mark) => mark.textContent.includes(wanted)),
  text, { timeout: 5000 });
const swapped = (kind) => page.waitForFunction((wanted) => wanted.test(document.querySelector('#relayd [data-of=swap]').textContent), kind, { timeout: 15000 });

// What the user said as an operator is told: every final with its place in the user's audio.
function followAsOperator() {
  const relayctl = ['--socket', `/tmp/relay-testbed-${NAME}/relayctl.sock`, '--json'];
  const { sessions: [{ user_id }] } = JSON.parse(execFileSync('build/release/relayctl', [...relayctl, 'sessions'], { encoding: 'utf8' }));
  const child = spawn('build/release/relayctl', [...relayctl, '--finals', 'captions', user_id], { stdio: ['ignore', 'pipe', 'inherit'] });
  const follow = { finals: [], stop: () => child.kill() };
  let rest = '';
  child.stdout.on('data', (data) => {
    const lines = (rest + data).split('\n');
    rest = lines.pop();
    for (const line of lines) follow.finals.push(JSON.parse(line));
  });
  return follow;
}

test('what is said into the microphone is read on the page', async () => {
  await page.click('#microphone');
  for (const station of ['phone', 'livekit', 'relayd', 'cloud', 'soniox']) await state(station, 'flow', 20000);
  await words(2);
  console.log(`heard: ${(await finals())[0]}`);
  for (const text of await finals()) assert.match(text, /young man/);
  await page.waitForFunction(() => new DOMMatrix(getComputedStyle(document.getElementById('meter')).transform).a > 0.02, undefined, { timeout: 15000 });
});

test('troubles that cost no word: each does what it says, every sentence comes once', async () => {
  const operator = followAsOperator(), connections = await figure('soniox', 'connections'), starts = await figure('cloud', 'starts');
  const repaired = await figure('relayd', 'repaired');
  await press('soniox-stall'); // until relayd gives it up, 10 s later
  await marked('Soniox stalled');
  await press('lossy');
  await marked('every tenth packet lost');
  await press('swap-same');
  await swapped(/resume, done, 0 lost, 0 doubled/);
  await press('cloud-kill');
  await state('cloud', 'broken');
  await atLeast('relayd', 'repaired', repaired + 5); // the browser's RED
  await atLeast('cloud', 'starts', starts + 1);
  await state('cloud', 'flow');
  await atLeast('soniox', 'connections', connections + 1);
  await press('soniox-cut');
  await atLeast('soniox', 'connections', connections + 2);
  await press('swap-other');
  await swapped(/(overlap|arrival|full), done, 0 lost, 0 doubled/);
  // A sentence that was begun after the last of them: whatever was spoken before it has come, too, or never will.
  const over = Date.now();
  await until('a sentence after the troubles', () => operator.finals.some(({ spoken_at_ms }) => spoken_at_ms > over), 60000);
  operator.stop();
  assert.equal(await figure('relayd', 'lost'), 0);
  assert.equal(await page.textContent('#sum-lost'), '0 ms');
  const said = operator.finals, steps = said.slice(1).map(({ start_ms }, i) => start_ms - said[i].start_ms);
  console.log(`${said.length} sentences, one every ${Math.min(...steps)} to ${Math.max(...steps)} ms; spoken: every ${Math.round(periodMs)} ms`);
  for (const step of steps) assert.ok(Math.abs(step - periodMs) < periodMs / 2, `a sentence is missing or doubled: ${steps}`);
  for (const { text } of said) assert.equal(text.match(/young man/g)?.length, 1, text);
  // The page has read the same.
  await words(said.length);
  assert.deepEqual((await finals()).slice(0, said.length), said.map(({ text }) => text.trim()));
});

test('a phone that is force-quit comes back, and its words with it', async () => {
  await press('phone-quit');
  await state('phone', 'broken');
  await state('relayd', 'trouble');
  await state('phone', 'flow', 20000);
  await state('relayd', 'flow');
  await words((await finals()).length + 1);
});

test('a network that is gone for a while', async () => {
  await press('blip');
  await state('relayd', 'trouble');
  await state('relayd', 'flow', 20000);
  // By when it was spoken: a final that has the hole in it may come after the network, and after one that has not.
  const over = Date.now(), operator = followAsOperator();
  const whole = () => operator.finals.find(({ spoken_at_ms }) => spoken_at_ms > over);
  await until('a sentence begun after the hole', whole, 60000);
  operator.stop();
  assert.match(whole().text, /man/);
});

test('what cannot be done is said', async () => {
  await page.click('#stop');
  await state('phone', 'off');
  await press('phone-quit');
  await page.waitForFunction(() => /no phone/.test(document.getElementById('problem').textContent), undefined, { timeout: 5000 });
  const nobody = await page.request.post(`${demo.url}api/do?user=nobody&what=blip`);
  assert.equal(nobody.status(), 404);
  const stranger = await page.request.post(`${demo.url}api/begin`, { headers: { origin: 'http://example.com' } });
  assert.equal(stranger.status(), 403);
});

test('the sample plays, and a page may stop and speak again', async () => {
  await page.click('#sample');
  await state('phone', 'flow', 20000);
  await page.waitForSelector('#cloud[data-audio=true]', { timeout: 20000 });
  await page.waitForSelector('#soniox[data-audio=true]', { timeout: 20000 });
  await page.click('#stop');
  await state('phone', 'off');
  await page.waitForSelector('#cloud[data-audio=false]', { timeout: 20000 });
});

test('a second demo of the same name says that it runs already', () => {
  const second = spawnSync('tests/demo-web', ['--name', NAME], { encoding: 'utf8', timeout: 20000 });
  assert.equal(second.status, 1);
  assert.match(second.stdout, /running already/);
});

test('Ctrl-C ends everything', async () => {
  assert.deepEqual(browser.errors, []);
  await browser.close();
  browser = undefined;
  assert.equal(await demo.stop(), 0);
  assert.match(demo.out, /everything has ended/);
  const log = readFileSync(`build/testbed/${NAME}/relayd.log`, 'utf8');
  assert.equal(log.split('\n').filter((line) => /"level":"error"|Sanitizer/.test(line)).join('\n'), '');
});
