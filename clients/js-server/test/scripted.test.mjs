// The publisher against servers that are slow, refuse, or are not there.
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { Publisher } from '@sidestream/server';
import { eventually, json, nowhere, receipts, scripted, within } from './harness.mjs';

function publisher(t, url, options = {}) {
  const made = new Publisher({ url, key: 'k', minBackoff: 5, maxBackoff: 20, onError: () => {}, ...options });
  t.after(() => made.close(0));
  return made;
}

const sent = (requests) => requests.flatMap(({ body }) => body.map(({ data }) => data));

test('calls of one turn are one request, and keys are never the same', async (t) => {
  const { url, requests } = await scripted(t, ({ body }, response) => json(response, 200, receipts(body)));
  const push = publisher(t, url);
  const data = { n: 1 };
  const outcomes = [push.sendToUser('u', 'n', data)];
  data.n = 2; // What was said was said.
  outcomes.push(push.sendToUser('u', 'n', data, { ttl: 5 }), push.publish({ topic: 't', data, idempotencyKey: 'mine' }));
  assert.ok((await Promise.all(outcomes)).every(({ ok }) => ok));
  assert.equal(requests.length, 1);
  const [{ method, url: path, headers, body }] = requests;
  assert.deepEqual([method, path, headers.authorization], ['POST', '/publish?partial=true', 'Bearer k']);
  assert.deepEqual(body.map(({ data: { n } }) => n), [1, 2, 2]);
  assert.equal(body[1].ttl, 5);
  assert.equal(body[2].idempotency_key, 'mine');
  assert.notEqual(body[0].idempotency_key, body[1].idempotency_key);
});

test('a connection is kept', async (t) => {
  const ports = new Set();
  const { url, server } = await scripted(t, ({ body }, response) => json(response, 200, receipts(body)));
  server.on('connection', (socket) => ports.add(socket.remotePort));
  const push = publisher(t, url);
  for (let n = 0; n < 20; n += 1) assert.equal((await push.sendToAll('n', n)).ok, true);
  assert.equal(ports.size, 1);
});

test('503 and 429 are tried again when they say, under the same keys', async (t) => {
  const { url, requests } = await scripted(t, ({ body }, response, count) => {
    if (count === 1) json(response, 503, { error: 'Redis does not answer', published: 'unknown' }, { 'retry-after': '1' });
    else if (count === 2) json(response, 429, { error: 'too many' });
    else json(response, 200, receipts(body));
  });
  const heard = [];
  const push = publisher(t, url, { onError: ({ status, unknown }, { retrying }) => heard.push([status, unknown, retrying]) });
  const outcome = await push.publish({ topic: 't' }, { wait: Infinity });
  assert.equal(outcome.ok, true);
  assert.deepEqual(heard, [[503, true, true], [429, true, true]]);
  assert.ok(requests[1].at - requests[0].at >= 1000);
  assert.equal(new Set(requests.map(({ body: [event] }) => event.idempotency_key)).size, 1);
  assert.equal(push.counters().retries, 2);
});

test('an event that could not be taken just then is tried again alone', async (t) => {
  const { url, requests } = await scripted(t, ({ body }, response, count) => {
    const { events } = receipts(body);
    if (count === 1) events[1] = { status: 503, error: 'item 1 (counted from 0): not now', published: 'nothing' };
    json(response, 200, { events, refused: 1 });
  });
  const push = publisher(t, url);
  for (let n = 0; n < 3; n += 1) push.sendToAll('n', n);
  assert.equal(await push.flush(), true);
  assert.deepEqual(requests.map(({ body }) => body.map(({ data }) => data)), [[0, 1, 2], [1]]);
  assert.equal(push.counters().done, 3);
});

test('a daemon that takes less at once gets less', async (t) => {
  const { url, requests } = await scripted(t, ({ body }, response) => {
    if (body.length > 2) json(response, 413, { error: 'too many' });
    else json(response, 200, receipts(body));
  });
  const push = publisher(t, url);
  for (let n = 0; n < 9; n += 1) push.sendToAll('n', n);
  assert.equal(await push.flush(), true);
  assert.deepEqual(sent(requests.filter(({ body }) => body.length <= 2)), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
  assert.equal(push.counters().failed, 0);
});

test('a full queue drops what comes, counts it, and stays in order', async (t) => {
  const url = await nowhere();
  const heard = [];
  const push = publisher(t, url, { maxQueue: 3, onError: ({ kind }) => heard.push(kind) });
  const outcomes = await Promise.all(Array.from({ length: 5 }, (_, n) => push.sendToAll('n', n)));
  assert.deepEqual(outcomes.map(({ status }) => status), ['queued', 'queued', 'queued', 'dropped', 'dropped']);
  const { queued, dropped, done } = push.counters();
  assert.deepEqual({ queued, dropped, done }, { queued: 3, dropped: 2, done: 0 });
  assert.equal(heard.filter((kind) => kind === 'dropped').length, 2);
  const large = publisher(t, url, { maxQueueBytes: 1000 });
  assert.equal((await large.sendToAll('n', 'x'.repeat(1000))).status, 'dropped');
});

test('what cannot be sent for too long fails', async (t) => {
  const push = publisher(t, await nowhere(), { giveUpAfter: 100 });
  const outcome = await push.publish({ topic: 't' }, { wait: Infinity });
  assert.deepEqual([outcome.status, outcome.error.kind, outcome.error.unknown], ['failed', 'given_up', false]);
  const { queued, failed, reachable } = push.counters();
  assert.deepEqual({ queued, failed, reachable }, { queued: 0, failed: 1, reachable: false });
});

test('close gives up what is left at its deadline, and takes nothing more', async (t) => {
  const { url } = await scripted(t, () => {}); // never answers
  const push = publisher(t, url);
  const outcome = push.publish({ topic: 't' }, { wait: Infinity });
  const from = Date.now();
  assert.equal(await push.close(100), false);
  assert.ok(Date.now() - from < 1000);
  assert.deepEqual([(await outcome).status, (await outcome).error.kind], ['dropped', 'closed']);
  assert.equal((await push.sendToAll('n', 1)).error.kind, 'closed');
  assert.equal(await push.close(), true);
});

test('flush ends a pause', async (t) => {
  let isUp = false;
  const { url } = await scripted(t, ({ body }, response) => {
    if (isUp) json(response, 200, receipts(body));
    else json(response, 503, { error: 'not yet', published: 'nothing' });
  });
  const push = publisher(t, url, { minBackoff: 60_000, maxBackoff: 60_000, patience: 10 });
  push.sendToAll('n', 1);
  await eventually('it was refused', () => push.counters().retries === 1);
  isUp = true;
  assert.equal(await push.flush(2000), true);
});

test('nothing that a caller passes makes a call throw', async (t) => {
  const { url, requests } = await scripted(t, ({ body }, response) => json(response, 200, receipts(body)));
  const push = publisher(t, url);
  const circle = {};
  circle.self = circle;
  const calls = [
    push.sendToUser(undefined, 'n', 1), push.sendToUser('', 'n', 1), push.sendToUser('u', 'n', circle), push.sendToUser('u', 'n', 1n),
    push.sendToUsers(null, 'n', 1), push.sendToUsers('u1', 'n', 1), push.sendToUsers(['u', undefined], 'n', 1),
    push.broadcastToConversation(undefined, 'n', 1), push.publish(), push.publish(null),
    push.disconnectClient(), push.giveTopics({}, ['t']), push.giveTopics(undefined, ['t']),
    push.sendToUser('u', 'n', { toJSON() { throw new Error('no'); } }),
  ];
  for (const [at, outcome] of (await Promise.all(calls)).entries()) {
    assert.deepEqual([at, outcome.ok, outcome.error?.kind], [at, false, 'invalid']);
  }
  assert.equal(requests.length, 0);
  assert.equal((await push.sendToUser('u', 'n')).ok, true);
  assert.equal((await push.sendToUser('u', undefined, 'unnamed')).ok, true);
  assert.equal(requests[1].body[0].data, 'unnamed');
  assert.equal((await push.sendToUser(7, 'n', '\ud800')).ok, true);
});

test('a handler of errors that throws ends nothing', async (t) => {
  const { url } = await scripted(t, ({ body }, response, count) => {
    if (count === 1) json(response, 400, { error: 'no' });
    else json(response, 200, receipts(body));
  });
  const silent = t.mock.method(console, 'error', () => {});
  const push = publisher(t, url, { onError: () => { throw new Error('in the handler'); } });
  assert.equal((await push.sendToAll('n', 1)).status, 'failed');
  assert.equal((await push.sendToAll('n', 2)).ok, true);
  assert.equal(silent.mock.callCount(), 1);
});

test('without a handler, one line in ten seconds says what fails', async (t) => {
  const warn = t.mock.method(console, 'warn', () => {});
  const push = new Publisher({ url: await nowhere(), key: 'k', minBackoff: 1, maxBackoff: 5, giveUpAfter: 50 });
  for (let n = 0; n < 100; n += 1) push.sendToAll('n', n);
  await push.flush();
  assert.equal(warn.mock.callCount(), 1);
  assert.match(warn.mock.calls[0].arguments[0], /^sidestream: POST \/publish: connect ECONNREFUSED .*; trying again$/);
});

test('questions without an answer are false, 0 or nobody within their time, and say why', async (t) => {
  const { url } = await scripted(t, () => {}); // never answers
  const heard = [];
  const push = publisher(t, url, { queryTimeout: 100, onError: ({ kind }) => heard.push(kind) });
  const from = Date.now();
  assert.equal(await push.hasConnection('u'), false);
  assert.equal(await push.isOnline('u'), false);
  assert.equal(await push.getConnectionCount(), 0);
  assert.deepEqual(await push.getActiveConnections(), []);
  assert.equal((await push.getStats()).total, 0);
  assert.ok(Date.now() - from < 1000);
  assert.deepEqual(heard, Array(5).fill('unreachable'));
  await assert.rejects(push.query.count(), { name: 'SidestreamError', kind: 'unreachable' });
  push.query.count(); // not awaited: no unhandled rejection
});

test('questions that hang do not hold up what is sent', async (t) => {
  const { url } = await scripted(t, ({ method, body }, response) => {
    if (method === 'POST') json(response, 200, receipts(body));
  });
  const push = publisher(t, url, { queryTimeout: 5000 });
  for (let n = 0; n < 30; n += 1) push.query.count();
  assert.equal((await within('an event', push.sendToAll('n', 1), 1000)).ok, true);
});

test('three pages of connections are one list', async (t) => {
  const pages = { undefined: ['a', 'b'], 2: ['c'], 3: ['d'] };
  const { url, requests } = await scripted(t, (request, response) => {
    const cursor = new URL(request.url, 'http://x').searchParams.get('cursor') ?? undefined;
    const next = { undefined: '2', 2: '3' }[cursor] ?? null;
    json(response, 200, { connections: pages[cursor].map((client) => ({ client })), next, complete: true });
  });
  const push = publisher(t, url);
  const all = await push.getActiveConnections({ user: 'a b' });
  assert.deepEqual(all.map(({ client }) => client), ['a', 'b', 'c', 'd']);
  assert.equal(requests[0].url, '/connections?user=a%20b&limit=1000');
});

test('an answer of something else is not taken for success', async (t) => {
  const { url } = await scripted(t, (_, response, count) => {
    if (count === 1) response.end('<html>Welcome</html>');
    else json(response, 200, { events: count === 2 ? [] : [null] });
  });
  const push = publisher(t, url);
  assert.equal((await push.sendToAll('n', 1)).error.kind, 'bad_answer');
  assert.equal((await push.sendToAll('n', 2)).error.kind, 'bad_answer');
  assert.equal((await push.sendToAll('n', 3)).error.kind, 'bad_answer');
});

test('an answer without end, or a byte at a time, is over at the time-out', async (t) => {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n');
    const timer = setInterval(() => socket.write('x'), 20);
    socket.on('close', () => clearInterval(timer));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const push = publisher(t, `http://127.0.0.1:${server.address().port}`, { timeout: 100, giveUpAfter: 150 });
  const outcome = await within('it fails', push.publish({ topic: 't' }, { wait: Infinity }), 2000);
  assert.deepEqual([outcome.error.kind, outcome.error.unknown], ['given_up', true]);
});

test('an address that is none is said at once', () => {
  assert.throws(() => new Publisher({ url: 'localhost:8081' }), /must begin with http/);
  assert.throws(() => new Publisher({ url: 'nonsense' }), TypeError);
});
