// What the publisher does to the process that it is used in: whole programs, run as an application would be.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { json, nowhere, receipts, scripted, within } from './harness.mjs';

function node(program, url, kind = 'module') {
  const child = spawn(process.execPath, [`--input-type=${kind}`, '--eval', program], {
    cwd: import.meta.dirname ?? new URL('.', import.meta.url).pathname,
    env: { ...process.env, SIDESTREAM_URL: url, SIDESTREAM_KEY: 'k' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const from = Date.now();
  let out = '';
  let err = '';
  child.stdout.on('data', (part) => (out += part));
  child.stderr.on('data', (part) => (err += part));
  return within('the program ends', new Promise((resolve) => {
    child.on('close', (code) => resolve({ code, out, err, took: Date.now() - from }));
  }), 15_000);
}

test('a server whose handlers await nothing, or catch nothing, lives on while sidestream is away', async () => {
  const { code, out, err } = await node(`
    import { Publisher } from '@sidestream/server';
    const push = new Publisher({ minBackoff: 5, maxBackoff: 20, giveUpAfter: 300, patience: 50 });
    async function notify() { return (await push.sendToUser('u', 'n', 1)).ok; }
    async function isThere() { return push.hasConnection('u'); }
    for (let n = 0; n < 50; n += 1) { notify(); isThere(); push.query.count(); push.disconnectClient('c'); }
    setTimeout(() => console.log('alive'), 600);
  `, await nowhere());
  assert.deepEqual([code, out], [0, 'alive\n'], err);
});

test('a script that ends sends what it has called first', async (t) => {
  const { url, requests } = await scripted(t, ({ body }, response) => {
    setTimeout(() => json(response, 200, receipts(body)), 300);
  });
  const { code, err } = await node(`
    import { Publisher } from '@sidestream/server';
    const push = new Publisher({ maxBatch: 2, patience: 10 });
    for (let n = 0; n < 5; n += 1) push.sendToAll('n', n);
  `, url);
  assert.equal(code, 0, err);
  assert.deepEqual(requests.flatMap(({ body }) => body.map(({ data }) => data)), [0, 1, 2, 3, 4]);
});

for (const [what, server] of [
  ['is away', () => nowhere()],
  ['hangs', async (t) => (await scripted(t, () => {})).url],
]) {
  test(`a script ends soon while sidestream ${what}, and says what was not sent`, async (t) => {
    const { code, err, took } = await node(`
      import { Publisher } from '@sidestream/server';
      const push = new Publisher({ exitDeadline: 300, patience: 100 });
      push.on('error', (error, { count, retrying }) => retrying || console.error(count, error.kind));
      for (let n = 0; n < 5; n += 1) push.sendToAll('n', n);
      await push.sendToAll('n', 5);
    `, await server(t));
    assert.deepEqual([code, err], [0, '6 closed\n']);
    assert.ok(took < 2000, `${took} ms`);
  });
}

test('modules of both kinds have the same class', async () => {
  const { code, out, err } = await node(`
    const { Publisher, SidestreamError, orThrow } = require('@sidestream/server');
    const { SidestreamModule } = require('@sidestream/server/nestjs');
    const { getPublisher } = require('@sidestream/server/next');
    import('@sidestream/server').then((esm) => {
      console.log(esm.Publisher === Publisher, esm.SidestreamError === SidestreamError, getPublisher() instanceof Publisher);
      console.log(typeof SidestreamModule.forRoot, getPublisher() === getPublisher(), typeof orThrow);
    });
  `, await nowhere(), 'commonjs');
  assert.deepEqual([code, out], [0, 'true true true\nfunction true function\n'], err);
});
