// What is asked for at each try, and what a running stream is given: tokens, headers, topics. The server does as it is told.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { subscribe } from '@sidestream/client';
import { recorder } from './support/recorder.js';
import { connected, event, Scripted, stream } from './support/scripted.js';
import { until } from './support/until.js';

const backoff = { base: 1, max: 20 };

test('subscribe: token and headers are asked for at each try', async () => {
  await using server = await Scripted.start((_, response, n) => {
    if (n < 3) response.writeHead(503).end();
    else stream(response, connected('a'));
  });
  let calls = 0;
  const events = subscribe(server.url, {
    token: async (why) => `${why}-${++calls}`,
    headers: () => ({ 'x-try': String(calls) }),
    backoff,
  });
  await until('it to open', () => events.state === 'open');
  events.unsubscribe();
  assert.deepEqual(
    server.asked.map(({ headers }) => headers.authorization),
    ['Bearer connect-1', 'Bearer connect-2', 'Bearer connect-3'],
  );
  assert.deepEqual(
    server.asked.map(({ headers }) => headers['x-try']),
    ['0', '1', '2'],
  );
  assert.equal(server.asked[0]!.headers.accept, 'text/event-stream');
});

test('subscribe: a callback that fails is tried again like everything else', async () => {
  await using server = await Scripted.start((_, response) => stream(response, connected('a')));
  const { seen, options } = recorder();
  let calls = 0;
  const token = () => (++calls < 3 ? Promise.reject(new Error('login is away')) : 'good');
  const events = subscribe(server.url, { ...options, token });
  await until('it to open', () => events.state === 'open');
  events.unsubscribe();
  assert.deepEqual(
    seen.errors.map(({ kind }) => kind),
    ['ask', 'ask'],
  );
  assert.match(seen.errors[0]!.message, /login is away/);
});

test('subscribe: after 401 the token is asked for once more, at once; then it is final until renew()', async () => {
  await using server = await Scripted.start(({ headers }, response) => {
    if (headers.authorization === 'Bearer good') stream(response, connected('a'));
    else response.writeHead(401).end();
  });
  const { seen, options } = recorder();
  const asked: string[] = [];
  let token = 'old';
  const events = subscribe(server.url, { ...options, token: (why) => (asked.push(why), token) });
  await until('it to give up', () => events.state === 'closed');
  assert.deepEqual(asked, ['connect', 'refused']);
  assert.equal(seen.errors.length, 1);
  assert.equal(seen.errors[0]!.status, 401);
  assert.equal(seen.errors[0]!.final, true);
  token = 'good';
  await events.renew();
  await until('it to open', () => events.state === 'open');
  events.unsubscribe();
});

test('subscribe: after a cut an old token costs nothing but one more request', async () => {
  let good = '1';
  await using server = await Scripted.start(({ headers }, response, n) => {
    if (headers.authorization !== `Bearer ${good}`) return void response.writeHead(401).end();
    stream(response, connected('a'));
    if (n > 1) return;
    good = '2';
    setTimeout(() => response.destroy(), 10);
  });
  const { seen, options } = recorder();
  let cached = '1';
  const events = subscribe(server.url, { ...options, token: (why) => (why === 'refused' ? (cached = good) : cached) });
  await until('the second stream', () => seen.infos.length === 2);
  events.unsubscribe();
  assert.deepEqual(
    seen.errors.map(({ kind }) => kind),
    ['network'],
  );
  assert.equal(server.asked.length, 3);
});

test('subscribe: at token_expired a new token is presented for the running stream', async () => {
  await using server = await Scripted.start(({ method }, response) => {
    if (method === 'POST') response.writeHead(200).end('{"expires_in":300}');
    else
      server.streams.push(
        stream(response, connected('abc'), 'event: token_expired\ndata: {"client":"abc","expires_in":29}\nid: 2-0'),
      );
  });
  const { seen, options } = recorder();
  const asked: string[] = [];
  const events = subscribe(server.url + '?conversationId=42', {
    ...options,
    token: (why) => (asked.push(why), `for-${why}`),
  });
  await until('the new token', () => server.asked.length === 2);
  const { method, url, headers, body } = server.asked[1]!;
  assert.deepEqual(
    [method, url, headers.authorization, body],
    ['POST', '/events?conversationId=42&client=abc', 'Bearer for-expired', ''],
  );
  assert.deepEqual(asked, ['connect', 'expired']);
  server.streams[0]!.write(event('3-0', 1) + '\n\n');
  await until('the stream to go on', () => seen.data.length);
  events.unsubscribe();
  assert.deepEqual(seen.errors, []);
});

test('subscribe: a renewal that fails is told, and the stream is opened anew when it ends', async () => {
  await using server = await Scripted.start(({ method }, response, n) => {
    if (method === 'POST') return void response.writeHead(403).end('{"reason":"not_your_stream"}');
    stream(response, connected('abc'));
    if (n === 1) {
      response.write('event: token_expired\ndata: {"client":"abc","expires_in":1}\nid: 2-0\n\n');
      setTimeout(() => response.end('event: closing\ndata: {"reason":"expired"}\nid: 2-0\n\n'), 100);
    }
  });
  const { seen, options } = recorder();
  const events = subscribe(server.url, { ...options, token: () => 'x' });
  await until('the second stream', () => seen.infos.length === 2);
  events.unsubscribe();
  assert.deepEqual(
    seen.errors.map(({ kind, status, reason, final }) => [kind, status, reason, final]),
    [['renew', 403, 'not_your_stream', false]],
  );
  assert.deepEqual(
    seen.ends.map(({ reason }) => reason),
    ['expired'],
  );
});

test('subscribe: a stream that nobody knows any more is opened anew at once', async () => {
  await using server = await Scripted.start(({ method }, response, n) => {
    if (method === 'POST') response.writeHead(404).end('{"reason":"no_such_stream"}');
    else stream(response, connected(`c${n}`));
  });
  const { seen, options } = recorder();
  const events = subscribe(server.url, options);
  await until('it to open', () => events.state === 'open');
  await events.renew();
  await until('the second stream', () => seen.infos.length === 2);
  events.unsubscribe();
  assert.deepEqual(
    seen.ends.map(({ reason }) => reason),
    ['renew'],
  );
});

test('subscribe: own topics are asked for again after a reconnect, and what was missed on them is told', async () => {
  await using server = await Scripted.start(({ method, body }, response, n) => {
    if (method === 'POST')
      return void response.writeHead(body.includes('forbidden') ? 403 : 200).end('{"reason":"topic_not_granted"}');
    server.streams.push(stream(response, connected(`c${n}`, { resumed: n > 1 })));
  });
  const { seen, options } = recorder();
  const events = subscribe(server.url, options);
  await events.topics.add('early');
  await until('the early one', () => server.asked.length === 2);
  await events.topics.add('room:7', 'room:8');
  await assert.rejects(events.topics.add('forbidden'), {
    kind: 'status',
    status: 403,
    reason: 'topic_not_granted',
    final: false,
  });
  await events.topics.remove('room:8');
  server.streams[0]!.destroy();
  await until('the reset', () => seen.resets.length);
  events.unsubscribe();
  const posts = server.asked.filter(({ method }) => method === 'POST');
  assert.deepEqual(
    posts.map(({ body }) => JSON.parse(body)),
    [
      { add: ['early'], remove: [] },
      { add: ['room:7', 'room:8'], remove: [] },
      { add: ['forbidden'], remove: [] },
      { add: [], remove: ['room:8'] },
      { add: ['early', 'room:7'], remove: ['room:8'] },
    ],
  );
  assert.deepEqual(
    new Set(posts.map(({ url }) => url)),
    new Set(['/events?client=c1', `/events?client=${seen.infos[1]!.client}`]),
  );
  assert.deepEqual(seen.resets, [{ reason: 'topics' }]);
});
