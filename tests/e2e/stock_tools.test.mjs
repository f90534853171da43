// stock_tools.test.mjs - what operators have at hand works unchanged: buf curl by server reflection, the health-check client.
import { test, after } from 'node:test';
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { assert, newUser, nothingLeft, status, testbed, until } from './lib/world.mjs';

after(nothingLeft);

const tools = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../peers/tools');
const require = createRequire(path.join(tools, 'package.json'));
const grpc = require('@grpc/grpc-js');
const { protoPath } = require('grpc-health-check');
const { Health } = grpc.loadPackageDefinition(require('@grpc/proto-loader').loadSync(protoPath, { enums: String })).grpc.health.v1;
const BRIDGE = 'mentra.livekit.bridge.LiveKitBridge';

async function buf(reflection, ...rest) {
  const { stdout } = await promisify(execFile)(path.join(tools, 'node_modules/@bufbuild/buf-linux-x64/bin/buf'), ['curl', '--protocol', 'grpc',
    '--http2-prior-knowledge', '--reflect', '--reflect-protocol', reflection, '--unix-socket',
    process.env.BRIDGE_ADDR.replace('unix:', ''), ...rest], { timeout: 20000, killSignal: 'SIGKILL' });
  return stdout;
}

for (const reflection of ['grpc-v1', 'grpc-v1alpha'])
  test(`buf curl with reflection ${reflection}`, async () => {
    const services = await buf(reflection, '--list-services', 'http://localhost');
    for (const name of [BRIDGE, 'grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection', 'grpc.reflection.v1alpha.ServerReflection'])
      assert.ok(services.split('\n').includes(name), `${name} in ${services}`);
    assert.ok(!services.includes('relay.v1.Admin'), 'Admin is not for callers of the bridge');
    const health = JSON.parse(await buf(reflection, '-d', `{"service":"${BRIDGE}"}`, 'http://localhost/grpc.health.v1.Health/Check'));
    assert.equal(health.status, 'SERVING');
    const seen = JSON.parse(await buf(reflection, '-d', '{"user_id":"nobody"}', `http://localhost/${BRIDGE}/GetStatus`));
    assert.equal(seen.connected ?? false, false);
    const joined = JSON.parse(await buf(reflection, '-d', '{"user_id":"u"}', `http://localhost/${BRIDGE}/JoinRoom`));
    assert.notEqual(joined.error, '');
  });

test('health check client: SERVING, then NOT_SERVING while relayd drains, then UNAVAILABLE', async () => {
  const client = new Health(process.env.BRIDGE_ADDR, grpc.credentials.createInsecure());
  const check = (service) => new Promise((resolve, reject) => client.Check({ service }, (error, answer) => (error ? reject(error) : resolve(answer))));
  assert.equal((await check('')).status, 'SERVING');
  assert.equal((await check(BRIDGE)).status, 'SERVING');
  await assert.rejects(check('nobody'), (error) => error.code === grpc.status.NOT_FOUND);

  const watch = client.Watch({ service: BRIDGE }), seen = [];
  watch.on('data', (answer) => seen.push(answer.status));
  const ended = new Promise((resolve) => watch.on('error', () => {}).on('status', resolve));
  await until('the first answer', () => seen.length === 1);
  const user = newUser('drained');
  await user.mustJoin();
  const { pid } = await status();
  process.kill(pid, 'SIGTERM');
  assert.equal((await ended).code, grpc.status.UNAVAILABLE);
  assert.deepEqual(seen, ['SERVING', 'NOT_SERVING']);
  testbed('restart', 'relayd');
  await until('the next process', async () => (await status().catch(() => ({}))).health === 'ok');
  client.close();
  user.close();
});
