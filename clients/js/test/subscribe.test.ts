// What subscribers get, and how they end it, against a server that does as it is told.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { subscribe } from '@sidestream/client';
import { recorder } from './support/recorder.js';
import { connected, event, Scripted, stream } from './support/scripted.js';
import { until } from './support/until.js';

const backoff = { base: 1, max: 20 };

test('subscribe: events reach the handlers of their names, and those of all', async () => {
  await using server = await Scripted.start((_, response) => {
    stream(response, connected('a'), event('2-0', { text: 'hi' }), 'data: plain text', event('3-0', 7, 'count'));
  });
  const seen: unknown[] = [];
  const events = subscribe<{ 'message:new': { text: string }; count: number; message: string }>(server.url, {
    on: {
      'message:new': ({ text }, { id, type }) => seen.push(['message:new', text, id, type]),
      message: (data) => seen.push(['message', data]),
      '*': (_, { type }) => seen.push(['*', type]),
    },
  });
  const off = events.on('count', (n) => seen.push(['count', n]));
  await until('four events', () => events.lastEventId === '3-0');
  off();
  events.unsubscribe();
  assert.deepEqual(
    seen.filter(([name]: any) => name !== '*'),
    [
      ['message:new', 'hi', '2-0', 'message:new'],
      ['message', 'plain text'],
      ['count', 7],
    ],
  );
  assert.deepEqual(seen.filter(([name]: any) => name === '*').length, 3);
});

test('subscribe: reset is told, and is no event', async () => {
  await using server = await Scripted.start((_, response) =>
    stream(response, connected('a'), 'event: reset\ndata: {"reason":"too_old"}\nid: 9-0'),
  );
  const { seen, options } = recorder();
  const events = subscribe(server.url, { ...options, lastEventId: '1-0' });
  await until('the reset', () => seen.resets.length);
  events.unsubscribe();
  assert.equal(server.asked[0]!.headers['last-event-id'], '1-0');
  assert.deepEqual(seen.resets, [{ reason: 'too_old' }]);
  assert.deepEqual(seen.data, []);
  assert.equal(events.lastEventId, '9-0');
});

test('subscribe: another server may use these names for itself', async () => {
  await using server = await Scripted.start((_, response) => {
    stream(
      response,
      ': welcome',
      'event: connected\ndata: {"hello":1}',
      'event: closing\ndata: {"reason":"x"}',
      'event: reset\ndata: 3',
    );
  });
  const { seen, options } = recorder();
  const events = subscribe(server.url, options);
  await until('three events', () => seen.data.length === 3);
  assert.equal(events.state, 'open');
  events.unsubscribe();
  assert.deepEqual(seen.infos, [{ client: '', topics: [] }]);
});

test('subscribe: typed streams are read as such', async () => {
  const typed = (type: string, data: unknown, id: string) =>
    `data: ${JSON.stringify({ type, data, timestamp: '2026-11-21T10:15:00.123Z' })}\nid: ${id}`;
  await using server = await Scripted.start((_, response, n) => {
    if (n === 1) return void stream(response, 'retry: 1\n' + typed('refused', { reason: 'limit_streams' }, '0')).end();
    stream(
      response,
      typed(
        'connection_established',
        { client: 'a', user: null, session: null, topics: ['t'], resumed: false, missed: 0 },
        '1-0',
      ),
      typed('message:new', 'hi', '2-0'),
      typed('reset', { reason: 'too_old' }, '3-0'),
    );
  });
  const { seen, options } = recorder();
  const events = subscribe(server.url, options);
  const whole: any[] = [];
  events.on('message:new', (_, event) => whole.push(event));
  await until('the reset', () => seen.resets.length);
  events.unsubscribe();
  assert.equal(seen.errors[0]!.reason, 'limit_streams');
  assert.equal(seen.infos[0]!.client, 'a');
  assert.deepEqual(seen.data, ['hi']);
  assert.equal(whole[0].timestamp, '2026-11-21T10:15:00.123Z');
});

test('subscribe: unsubscribed before its first request, it makes none', async () => {
  await using server = await Scripted.start((_, response) => stream(response));
  subscribe(server.url).unsubscribe();
  subscribe(server.url, { signal: AbortSignal.abort() });
  const controller = new AbortController();
  const third = subscribe(server.url, { signal: controller.signal });
  await until('the one that is meant', () => server.asked.length);
  controller.abort();
  assert.equal(third.state, 'closed');
  assert.equal(server.asked.length, 1);
});

test('subscribe: a handler may unsubscribe, whatever is told', async () => {
  await using server = await Scripted.start((_, response, n) => {
    if (n % 2) response.writeHead(500).end();
    else stream(response, connected('a'), event('2-0', 1), event('3-0', 2)).end();
  });
  for (const told of ['onConnect', 'onDisconnect', 'onError', 'onState', 'event'] as const) {
    let calls = 0;
    const stop = () => (calls++, events.unsubscribe());
    const events = subscribe(server.url, { backoff, ...(told === 'event' ? { on: { '*': stop } } : { [told]: stop }) });
    await until(`${told} to be called`, () => calls);
    const { length } = server.asked;
    await new Promise((resolve) => setTimeout(resolve, 80));
    assert.equal(calls, 1, told);
    assert.ok(server.asked.length <= length + 1, told);
    assert.equal(events.state, 'closed');
  }
});

test('subscribe: presence is told as such', async () => {
  await using server = await Scripted.start((_, response) => {
    stream(
      response,
      connected('a'),
      event('2-0', { user: 'u1', at: 'then' }, 'user:online'),
      event('3-0', { user: 'u1', at: 'now' }, 'user:offline'),
    );
  });
  const seen: unknown[] = [];
  const events = subscribe(server.url, { onPresence: (presence) => seen.push(presence) });
  await until('both', () => seen.length === 2);
  events.unsubscribe();
  assert.deepEqual(seen, [
    { user: 'u1', at: 'then', online: true },
    { user: 'u1', at: 'now', online: false },
  ]);
});

test('subscribe: decode may turn data into something else', async () => {
  await using server = await Scripted.start((_, response) =>
    stream(response, connected('a'), event('2-0', '2026-11-21T10:15:00Z')),
  );
  const { seen, options } = recorder();
  const events = subscribe(server.url, { ...options, decode: (data) => new Date(data) });
  await until('the event', () => seen.data.length);
  events.unsubscribe();
  assert.ok(seen.data[0] instanceof Date);
});

/** Runs a script with `subscribe` and `url`, and gives what it printed and how it ended. */
function script(url: string, code: string) {
  const text = `import { subscribe } from '@sidestream/client'; const url = ${JSON.stringify(url)};\n${code}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', text], {
    cwd: new URL('..', import.meta.url).pathname,
  });
  let said = '';
  for (const out of [child.stdout, child.stderr]) out.on('data', (more) => (said += more));
  return new Promise<{ said: string; code: number | null; took: number }>((ended) => {
    const start = Date.now();
    child.on('exit', (code) => ended({ said, code, took: Date.now() - start }));
  });
}

test('subscribe: nothing of it is left after unsubscribe: the process ends', async () => {
  await using server = await Scripted.start(({ url }, response) => {
    if (url.endsWith('open')) stream(response, connected('a'));
    else if (url.endsWith('away')) response.writeHead(500).end();
  });
  for (const [where, state] of Object.entries({ open: 'open', away: 'waiting', silent: 'connecting' })) {
    const { said, code, took } = await script(
      `${server.url}?${where}`,
      `
      const events = subscribe(url, { backoff: { base: 1e8, max: 1e8 } });
      const check = setInterval(() => {
        if (events.state !== '${state}') return;
        clearInterval(check);
        events.unsubscribe();
      }, 20);
    `,
    );
    assert.equal(code, 0, said);
    assert.ok(took < 15_000, `${where}: ${took} ms`);
  }
});

test('subscribe: a handler that throws does not harm the stream, and is not passed over in silence', async () => {
  await using server = await Scripted.start((_, response) =>
    stream(response, connected('a'), event('2-0', 1), event('3-0', 2)),
  );
  const { said, code } = await script(
    server.url,
    `
    process.on('uncaughtException', (error) => console.log('uncaught', error.message));
    const seen = [];
    const events = subscribe(url, { on: { 'message:new': (n) => { seen.push(n); if (n === 1) throw new Error('of the page'); } } });
    events.on('message:new', (n) => n === 2 && setTimeout(() => { console.log(seen.join(), events.state); events.unsubscribe(); }, 10));
  `,
  );
  assert.equal(code, 0, said);
  assert.deepEqual(said.trim().split('\n'), ['uncaught of the page', '1,2 open']);
});
