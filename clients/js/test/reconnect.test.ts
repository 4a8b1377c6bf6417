// How a connection is noticed to be lost, and how it comes back, against a server that does as it is told.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { subscribe } from '@sidestream/client';
import { page } from './support/page.js';
import { recorder } from './support/recorder.js';
import { connected, event, Scripted, stream } from './support/scripted.js';
import { until } from './support/until.js';

const backoff = { base: 1, max: 20 };

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
