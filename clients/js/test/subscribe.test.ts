// Everything a connection does by itself, against a server that does as it is told.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { subscribe } from '@sidestream/client';
import { recorder } from './support/recorder.js';
import { connected, event, Scripted, stream } from './support/scripted.js';
import { until } from './support/until.js';

const backoff = { base: 1, max: 20 };

/** A page for what only pages have; taken away again at the end. */
function page() {
  const events = new EventTarget();
  const document = Object.assign(new EventTarget(), { hidden: false });
  const store = new Map<string, string>();
  const before = Object.fromEntries(
    ['addEventListener', 'document', 'sessionStorage'].map((name) => [name, (globalThis as any)[name]]),
  );
  Object.assign(globalThis, {
    addEventListener: events.addEventListener.bind(events),
    document,
    sessionStorage: {
      getItem: (key: string) => store.get(key) ?? null,
      setItem: (key: string, value: string) => store.set(key, value),
    },
  });
  return {
    store,
    window: (type: string) => events.dispatchEvent(new Event(type)),
    document: (type: string, hidden = document.hidden) => {
      document.hidden = hidden;
      document.dispatchEvent(new Event(type));
    },
    [Symbol.dispose]: () => Object.assign(globalThis, before),
  };
}

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

test('subscribe: after a cut it comes back with its last id, and every event comes once', async () => {
  await using server = await Scripted.start((asked, response, n) => {
    if (n === 1) {
      stream(response, connected('a'), event('2-0', 1), event('3-0', 2));
      // Half an event more, and the cut.
      response.write('event: message:new\ndata: 3\nid: 4-0\n');
      setTimeout(() => response.destroy(), 20);
    } else
      stream(
        response,
        connected('b', { resumed: true, missed: 1 }, asked.headers['last-event-id'] as string),
        event('4-0', 3),
      );
  });
  const { seen, options } = recorder();
  const events = subscribe(server.url, options);
  await until('the third event', () => seen.data.length === 3);
  events.unsubscribe();
  assert.deepEqual(seen.data, [1, 2, 3]);
  assert.equal(server.asked[1]!.headers['last-event-id'], '3-0');
  assert.deepEqual(
    seen.infos.map((info) => info.resumed),
    [false, true],
  );
  assert.deepEqual(seen.states, ['connecting', 'open', 'waiting', 'connecting', 'open']);
  assert.equal(seen.errors[0]!.kind, 'network');
  assert.equal(seen.ends[0]!.next, seen.errors[0]!.next);
});

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

test('subscribe: it never gives up, and waits longer each time, drawn from all of a range above what the server asked', async () => {
  await using server = await Scripted.start((_, response, n) => {
    if (n > 1) return void response.writeHead(500).end();
    stream(response, 'retry: 40\ndata: 1').end();
  });
  const { seen, options } = recorder();
  const random = Math.random;
  const drawn = [0, 0.5, 0.999];
  let draws = 0;
  Math.random = () => drawn[draws++ % drawn.length]!;
  const events = subscribe(server.url, { ...options, backoff: { base: 10, max: 80 } });
  await until('twelve failures', () => seen.errors.length >= 12).finally(() => (Math.random = random));
  events.unsubscribe();
  const ceiling = (n: number) => Math.min(80, 10 * 2 ** n);
  seen.errors.slice(0, 12).forEach(({ next, attempt, final }, n) => {
    assert.equal(attempt, n + 1);
    assert.equal(final, false);
    assert.equal(next, (40 + drawn[n % 3]! * ceiling(n + 1)) | 0);
  });
});

test('subscribe: a stream that lasted starts the waits from the bottom again', async (t) => {
  await using server = await Scripted.start((_, response, n) => {
    if (n !== 4) return void response.writeHead(500).end();
    stream(response, connected('a'));
    setTimeout(() => response.destroy(), 30);
  });
  const { seen, options } = recorder();
  // Its clock says that the stream was open for long.
  const now = Date.now;
  let ahead = 0;
  t.mock.method(Date, 'now', () => now() + ahead);
  const events = subscribe(server.url, { ...options, onConnect: () => (ahead = 6_000) });
  await until('the fifth failure', () => seen.errors.length === 5);
  events.unsubscribe();
  assert.deepEqual(
    seen.errors.map(({ attempt }) => attempt),
    [1, 2, 3, 0, 1],
  );
});

test('subscribe: an error says its kind, status, reason, cause and when the next try is', async () => {
  await using server = await Scripted.start((_, response, n) => {
    if (n === 1)
      response
        .writeHead(503, { 'content-type': 'application/json' })
        .end('{"error":"the log has not been loaded","reason":"not_ready"}');
    else if (n === 2) response.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
    else if (n === 3) response.socket!.destroy();
    else if (n === 4) stream(response, 'retry: 1\nevent: refused\ndata: {"reason":"limit_streams"}').end();
    else
      response.writeHead(403, { 'content-type': 'application/json' }).end('{"error":"…","reason":"topic_not_granted"}');
  });
  const { seen, options } = recorder();
  const events = subscribe(server.url, options);
  await until('the final error', () => seen.errors.length === 5);
  const told = seen.errors.map(({ kind, status, reason, final, next }) => [
    kind,
    status,
    reason,
    final,
    next === undefined,
  ]);
  assert.deepEqual(told, [
    ['status', 503, 'not_ready', false, false],
    ['content_type', 200, undefined, false, false],
    ['network', undefined, undefined, false, false],
    ['refused', undefined, 'limit_streams', false, false],
    ['status', 403, 'topic_not_granted', true, true],
  ]);
  assert.ok(seen.errors[2]!.cause instanceof Error);
  assert.ok(seen.errors.every((error) => error instanceof Error && error.message.startsWith(error.kind)));
  assert.equal(seen.infos.length, 0, 'a refusal is no connection');
  assert.equal(events.state, 'closed');
  events.unsubscribe();
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

for (const [name, blocks] of [
  ['a 204', undefined],
  [
    'closing with reconnect: false',
    [connected('a'), 'retry: 86400000\nevent: closing\ndata: {"reason":"sent_away","reconnect":false}\nid: 2-0'],
  ],
] as const) {
  test(`subscribe: ${name} is obeyed`, async () => {
    await using server = await Scripted.start((_, response) => {
      if (blocks) stream(response, ...blocks).end();
      else response.writeHead(204).end();
    });
    using tab = page();
    const { seen, options } = recorder();
    const events = subscribe(server.url, options);
    await until('it to stop', () => events.state === 'closed');
    tab.window('online');
    tab.document('visibilitychange', false);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(server.asked.length, 1);
    assert.deepEqual(seen.errors, [], 'to be sent away is no error');
    if (blocks) assert.deepEqual(seen.ends, [{ reason: 'sent_away', next: undefined }]);
    events.unsubscribe();
  });
}

test('subscribe: closing otherwise is a disconnect with its reason, and no error', async () => {
  await using server = await Scripted.start((_, response, n) => {
    stream(response, connected('a'));
    if (n === 1) response.write('retry: 30\nevent: closing\ndata: {"reason":"draining"}\nid: 2-0\n\n');
  });
  const { seen, options } = recorder();
  const events = subscribe(server.url, options);
  await until('the second stream', () => seen.infos.length === 2);
  events.unsubscribe();
  assert.equal(seen.ends[0]!.reason, 'draining');
  assert.ok(seen.ends[0]!.next! >= 30);
  assert.deepEqual(seen.errors, []);
  assert.equal(server.asked[1]!.headers['last-event-id'], '2-0');
});

test('subscribe: Retry-After is heeded, even when the network comes back meanwhile', async () => {
  await using server = await Scripted.start((_, response, n) => {
    if (n === 1) response.writeHead(503, { 'retry-after': '1' }).end();
    else stream(response, connected('a'));
  });
  using tab = page();
  const { seen, options } = recorder();
  const events = subscribe(server.url, options);
  await until('the refusal', () => seen.errors.length === 1);
  assert.ok(seen.errors[0]!.next! >= 1_000);
  tab.window('online');
  tab.document('visibilitychange', false);
  await until('it to open', () => events.state === 'open');
  events.unsubscribe();
  assert.ok(server.asked[1]!.at - server.asked[0]!.at >= 1_000);
});

for (const [name, wake] of [
  ['the network returns', (tab: ReturnType<typeof page>) => tab.window('online')],
  ['the tab becomes visible', (tab: ReturnType<typeof page>) => tab.document('visibilitychange', false)],
] as const) {
  test(`subscribe: it connects at once when ${name}, however long the wait`, async () => {
    await using server = await Scripted.start((_, response, n) => {
      if (n === 1) response.writeHead(500).end();
      else stream(response, connected('a'));
    });
    using tab = page();
    const { seen, options } = recorder();
    const events = subscribe(server.url, { ...options, backoff: { base: 1e9, max: 1e9 } });
    await until('the failure', () => seen.errors.length === 1);
    wake(tab);
    await until('it to open', () => events.state === 'open', 1_000);
    events.unsubscribe();
  });
}

test('subscribe: what is open when the network returns is opened anew, and only the new one delivers', async () => {
  await using server = await Scripted.start((_, response, n) =>
    server.streams.push(stream(response, connected(`c${n}`, {}, `${n}-0`))),
  );
  using tab = page();
  const { seen, options } = recorder();
  const events = subscribe(server.url, options);
  await until('it to open', () => events.client === 'c1');
  tab.window('online');
  await until('the second stream', () => events.client === 'c2');
  for (const old of server.streams) old.write(event('9-0', old === server.streams[0] ? 'old' : 'new') + '\n\n');
  await until('the event', () => seen.data.length);
  events.unsubscribe();
  assert.deepEqual(seen.data, ['new']);
  assert.deepEqual(
    seen.ends.map(({ reason }) => reason),
    ['online'],
  );
});

test('subscribe: a fetch that heeds no signal still delivers nothing after its time', async () => {
  await using server = await Scripted.start((_, response) => server.streams.push(stream(response, connected('a'))));
  using tab = page();
  const { seen, options } = recorder();
  const deaf: typeof fetch = (url, init) => fetch(url, { ...init, signal: null });
  const events = subscribe(server.url, { ...options, fetch: deaf });
  await until('it to open', () => seen.infos.length === 1);
  tab.window('online');
  await until('the second stream', () => seen.infos.length === 2);
  server.streams[0]!.write(event('8-0', 'old') + '\n\n');
  server.streams[0]!.end();
  server.streams[1]!.write(event('9-0', 'new') + '\n\n');
  await until('the event', () => seen.data.length);
  await new Promise((resolve) => setTimeout(resolve, 50));
  events.unsubscribe();
  assert.deepEqual(seen.data, ['new']);
  assert.equal(seen.infos.length, 2);
});

test('subscribe: silence is noticed, comments are not silence', async () => {
  await using server = await Scripted.start((_, response, n) => {
    stream(response, connected('a'));
    if (n === 1) {
      const beat = setInterval(() => response.write(': hb\n\n'), 30);
      setTimeout(() => clearInterval(beat), 400);
    }
  });
  const { seen, options } = recorder();
  const events = subscribe(server.url, { ...options, silence: 150 });
  await until('it to notice', () => seen.infos.length === 2);
  events.unsubscribe();
  assert.equal(seen.errors[0]!.kind, 'silent');
  assert.ok(server.asked[1]!.at - server.asked[0]!.at > 400);
});

test('subscribe: an answer that does not begin is not waited for, for ever', async () => {
  await using server = await Scripted.start((_, response, n) => {
    if (n > 1) stream(response, connected('a'));
  });
  const { seen, options } = recorder();
  const events = subscribe(server.url, { ...options, timeout: 60 });
  await until('it to open', () => events.state === 'open');
  events.unsubscribe();
  assert.equal(seen.errors[0]!.kind, 'timeout');
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

test('subscribe: with resume a reload goes on where the page was', async () => {
  await using server = await Scripted.start((_, response) => stream(response, connected('a'), event('2-0', 1)));
  using tab = page();
  const { seen, options } = recorder();
  const first = subscribe(server.url, { ...options, resume: 'chat' });
  await until('the event', () => seen.data.length === 1);
  first.unsubscribe();
  assert.deepEqual([...tab.store], [['sidestream:chat', '2-0']]);
  const second = subscribe(server.url, { ...options, resume: 'chat' });
  await until('the second request', () => server.asked.length === 2);
  second.unsubscribe();
  assert.equal(server.asked[1]!.headers['last-event-id'], '2-0');
});

test('subscribe: an id of more than ASCII goes back as its bytes', async () => {
  await using server = await Scripted.start((_, response, n) => {
    stream(response, 'data: 1\nid: é🦀', 'retry: 1');
    if (n === 1) response.end();
  });
  const events = subscribe(server.url, { backoff });
  await until('the second request', () => server.asked.length === 2);
  events.unsubscribe();
  assert.equal(Buffer.from(server.asked[1]!.headers['last-event-id'] as string, 'latin1').toString(), 'é🦀');
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

test('subscribe: a page that goes into the cache, or is frozen, pauses; back again it goes on', async () => {
  await using server = await Scripted.start((_, response) => stream(response, connected('a')));
  using tab = page();
  const { seen, options } = recorder();
  const events = subscribe(server.url, options);
  for (const [go, come] of [
    [() => tab.window('pagehide'), () => tab.window('pageshow')],
    [() => tab.document('freeze'), () => tab.document('resume')],
  ] as const) {
    const opened = seen.infos.length;
    await until('it to open', () => seen.infos.length > opened || events.state === 'open');
    go();
    assert.equal(events.state, 'paused');
    const before = seen.infos.length;
    come();
    await until('it to open again', () => seen.infos.length > before);
  }
  assert.deepEqual(seen.errors, []);
  events.unsubscribe();
});

test('subscribe: a hidden tab stays connected, unless it is told to pause', async () => {
  await using server = await Scripted.start((_, response) => stream(response, connected('a')));
  using tab = page();
  const { seen, options } = recorder();
  const always = subscribe(server.url, options);
  const sparing = subscribe(server.url, { backoff, pauseHidden: 50 });
  await until('both to open', () => always.state === 'open' && sparing.state === 'open');
  tab.document('visibilitychange', true);
  tab.document('visibilitychange', false);
  await new Promise((resolve) => setTimeout(resolve, 80));
  assert.equal(sparing.state, 'open', 'a glance elsewhere is no reason');
  tab.document('visibilitychange', true);
  await until('the pause', () => sparing.state === 'paused');
  tab.document('resume');
  assert.equal(sparing.state, 'paused', 'it is still hidden');
  assert.equal(always.state, 'open');
  assert.equal(server.asked.length, 2);
  tab.document('visibilitychange', false);
  await until('it to go on', () => sparing.state === 'open', 1_000);
  assert.deepEqual(seen.ends, []);
  for (const each of [always, sparing]) each.unsubscribe();
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
