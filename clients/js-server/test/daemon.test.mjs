// The publisher against the real daemon.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { test } from 'node:test';
import { Publisher, createNotificationEvent, createTypingEvent, orThrow, verifyWebhook } from '@sidestream/server';
import { KEY, ROUTE, eventually, kill, openStream, run, startDaemon, stop, take, within } from './harness.mjs';

function publisher(t, url, options = {}) {
  const made = new Publisher({ url, key: KEY, minBackoff: 20, maxBackoff: 100, onError: () => {}, ...options });
  t.after(() => made.close(0));
  return made;
}

test('every call of a service that it replaces does what it did', async (t) => {
  const daemon = await startDaemon(t);
  const push = publisher(t, daemon.url);
  const anna = await openStream(t, daemon, 'userId=anna%2F1+%26&sessionId=s1&conversationId=42');
  const ben = await openStream(t, daemon, 'userId=ben&sessionId=s2&conversationId=42');
  const name = 'anna/1 &';
  const { sendToUser, broadcastToConversation } = push; // as modules export them

  const { id, matched } = orThrow(await sendToUser(name, 'direct', { n: 1 }));
  assert.ok(id);
  assert.equal(matched, 1);
  await push.sendToUsers([name, 'ben'], 'both', { n: 2 });
  await broadcastToConversation(42, 'talk', { n: 3 }, name);
  await broadcastToConversation('42', 'talk', { n: 4 });
  await push.sendToSession('s1', 'session', { n: 5 });
  await push.sendToClient(anna.client, 'client', { n: 6 });
  await push.sendToTopic('conversation:42', 'topic', { n: 7 }, { except: { user: 'ben' } });
  await push.sendToUser(name, createNotificationEvent({ n: 8 }));
  await broadcastToConversation(42, createTypingEvent({ n: 9 }), name);
  assert.equal(orThrow(await push.sendToAll('all', { n: 10 })).matched, 2);
  assert.deepEqual(await push.sendToUsers([], 'nobody', 1), { ok: true, status: 'done', value: { id: null, matched: 0 } });

  const names = async (stream, count) => {
    const all = [];
    while (all.length < count) {
      const { event, data } = await stream.next();
      all.push(`${event} ${data.n}`);
    }
    return all;
  };
  assert.deepEqual(await names(anna, 8), [
    'direct 1', 'both 2', 'talk 4', 'session 5', 'client 6', 'topic 7', 'notification 8', 'all 10']);
  assert.deepEqual(await names(ben, 5), ['both 2', 'talk 3', 'talk 4', 'typing 9', 'all 10']);

  assert.equal(await push.hasConnection(name), true);
  assert.equal(await push.hasConnection('nobody'), false);
  await eventually('ben is online', () => push.isOnline('ben'));
  assert.equal(await push.isOnline('nobody'), false);
  assert.equal(await push.getConnectionCount(), 2);
  assert.equal(await push.getConnectionCount({ topic: 'conversation:42', user: 'ben' }), 1);
  const clients = (await push.getActiveConnections()).map(({ client }) => client).sort();
  assert.deepEqual(clients, [anna.client, ben.client].sort());
  const stats = await push.getStats();
  assert.equal(stats.total, 2);
  assert.equal(stats.instances.length, 1);
  assert.equal(stats.publisher.done, 10);

  assert.equal(orThrow(await push.disconnectClient(anna.client)).closed, 1);
  assert.equal((await anna.next()).event, 'closing');
  assert.equal(await anna.next(), undefined);
  assert.equal(orThrow(await push.disconnectClient(anna.client)).closed, 0);
  await eventually('one is left', async () => (await push.getConnectionCount()) === 1);
});

test('all pages of the connections are read', async (t) => {
  const daemon = await startDaemon(t);
  const push = publisher(t, daemon.url);
  const clients = [];
  for (let n = 0; n < 7; n += 1) clients.push((await openStream(t, daemon, `userId=u${n}&sessionId=s&conversationId=1`)).client);
  const listed = [];
  for await (const { client } of push.query.connections({}, 2)) listed.push(client);
  assert.deepEqual(listed.sort(), clients.sort());
  assert.equal((await push.getActiveConnections()).length, 7);
  await eventually('all are online', async () => (await push.query.presence()).users_total === 7);
  const online = [];
  for await (const user of push.query.online()) online.push(user);
  assert.deepEqual(online.sort(), ['u0', 'u1', 'u2', 'u3', 'u4', 'u5', 'u6']);
});

test('calls that are not awaited arrive in their order, whatever their kind', async (t) => {
  const daemon = await startDaemon(t);
  const push = publisher(t, daemon.url);
  const anna = await openStream(t, daemon, 'userId=anna&sessionId=s1&conversationId=42');
  for (let n = 0; n < 400; n += 2) {
    push.sendToUser('anna', 'pair', n);
    push.broadcastToConversation(42, 'pair', n + 1);
    // Not all in one turn, as requests come.
    if (n % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  push.giveTopics({ user: 'anna' }, ['extra']);
  push.sendToTopic('extra', 'pair', 400);
  push.takeTopics({ user: 'anna' }, ['extra']);
  push.sendToTopic('extra', 'pair', 'not hers');
  push.sendToUser('anna', 'pair', 401);
  assert.equal(await push.flush(), true);
  assert.deepEqual(await take(anna, 402), Array.from({ length: 402 }, (_, n) => n));
  push.disconnectUser('anna', { reconnect: false, for: '1m' });
  push.sendToUser('anna', 'pair', 402);
  assert.deepEqual((await anna.next()).data, { reason: 'sent_away', reconnect: false });
  assert.equal(push.counters().failed, 0);
});

test('a daemon that restarts gets what was called meanwhile, once and in order', async (t) => {
  const daemon = await startDaemon(t);
  const push = publisher(t, daemon.url);
  const said = [];
  push.on('down', () => said.push('down'));
  push.on('up', () => said.push('up'));
  await push.broadcastToConversation(42, 'n', -1);
  await kill(daemon);
  const outcome = await within('a call settles', push.broadcastToConversation(42, 'n', 0), 2000);
  assert.equal(outcome.status, 'queued');
  for (let n = 1; n < 50; n += 1) {
    const from = Date.now();
    assert.equal((await push.broadcastToConversation(42, 'n', n)).status, 'queued');
    assert.ok(Date.now() - from < 200, 'while it is known to be away, nobody waits');
  }
  await run(daemon);
  assert.equal(await push.flush(), true);
  assert.equal((await push.broadcastToConversation(42, 'n', 50)).ok, true);
  const { events } = await push.query.events('conversation:42');
  assert.deepEqual(events.map(({ data }) => Number(data)), Array.from({ length: 51 }, (_, n) => n));
  assert.deepEqual(said, ['down', 'up']);
  assert.equal(push.counters().done, 52);
  assert.equal(push.counters().reachable, true);
});

test('a stopped daemon hangs no caller, and has every event once when it goes on', async (t) => {
  const daemon = await startDaemon(t);
  const push = publisher(t, daemon.url, { timeout: 300, queryTimeout: 300, patience: 100 });
  const anna = await openStream(t, daemon, 'userId=anna&sessionId=s1&conversationId=42');
  await stop(daemon);
  const from = Date.now();
  const outcomes = await Promise.all(Array.from({ length: 20 }, (_, n) => push.sendToUser('anna', 'n', n)));
  assert.ok(outcomes.every(({ status }) => status === 'queued'));
  for (let n = 20; n < 30; n += 1) await push.sendToUser('anna', 'n', n);
  for (let n = 0; n < 20; n += 1) assert.equal(await push.hasConnection('anna'), false);
  assert.ok(Date.now() - from < 2500, `${Date.now() - from} ms`);
  await eventually('it has been tried twice', () => push.counters().retries >= 2);
  daemon.process.kill('SIGCONT');
  assert.equal(await push.flush(), true);
  push.sendToUser('anna', 'n', 30);
  assert.deepEqual(await take(anna, 31), Array.from({ length: 31 }, (_, n) => n));
});

test('an answer that is cut costs no event and doubles none', async (t) => {
  const daemon = await startDaemon(t);
  const [host, port] = daemon.internal.split(':');
  let cuts = 6;
  const proxy = net.createServer((client) => {
    const server = net.connect(Number(port), host);
    client.on('error', () => {}).on('close', () => server.destroy());
    server.on('error', () => {}).on('close', () => client.destroy());
    client.pipe(server);
    // Half of the answer's head, or nothing of it, and the line is cut.
    server.on('data', (part) => {
      if (cuts <= 0) return client.write(part);
      cuts -= 1;
      client.write(part.subarray(0, cuts % 2 ? 0 : part.length >> 1));
      client.destroy();
    });
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  t.after(() => proxy.close());
  const push = publisher(t, `http://127.0.0.1:${proxy.address().port}`);
  const anna = await openStream(t, daemon, 'userId=anna&sessionId=s1&conversationId=42');
  for (let n = 0; n < 30; n += 1) {
    push.sendToUser('anna', 'n', n);
    if (n % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const last = await push.publish({ user: 'anna', event: 'n', data: 30 }, { wait: Infinity });
  assert.equal(last.ok, true);
  assert.equal(cuts, 0);
  assert.deepEqual(await take(anna, 31), Array.from({ length: 31 }, (_, n) => n));
});

test('an event that is refused holds up no other', async (t) => {
  const daemon = await startDaemon(t);
  const heard = [];
  const push = publisher(t, daemon.url, { onError: (error, about) => heard.push([error.message, about.count]) });
  const anna = await openStream(t, daemon, 'userId=anna&sessionId=s1&conversationId=42');
  push.sendToUser('anna', 'n', 1);
  const refused = push.publish({ user: 'anna', event: '', data: 2 });
  push.sendToUser('anna', 'n', 3);
  assert.deepEqual(await take(anna, 2), [1, 3]);
  const { ok, status, error } = await refused;
  assert.deepEqual([ok, status, error.kind, error.status, error.problem.field], [false, 'failed', 'refused', 400, 'event']);
  assert.deepEqual(heard, [['POST /publish: 400 `event` is empty', 1]]);
  await assert.rejects(async () => orThrow(await refused), { name: 'SidestreamError' });
});

test('a wrong key fails at once, and says so', async (t) => {
  const daemon = await startDaemon(t);
  const push = publisher(t, daemon.url, { key: 'wrong' });
  const { status, error } = await push.sendToAll('n', 1);
  assert.deepEqual([status, error.kind, error.status], ['failed', 'refused', 401]);
  await assert.rejects(push.query.count(), { status: 401 });
});

test('a key may be asked for at each request', async (t) => {
  const daemon = await startDaemon(t);
  const keys = ['wrong', KEY];
  const push = publisher(t, daemon.url, { key: async () => keys.shift() });
  assert.equal((await push.sendToAll('n', 1)).error.status, 401);
  assert.equal((await push.sendToAll('n', 2)).ok, true);
});

test('topics, presence, the log and revocations', async (t) => {
  const daemon = await startDaemon(t);
  const push = publisher(t, daemon.url);
  const anna = await openStream(t, daemon, 'userId=anna&sessionId=s1&conversationId=42');
  const position = await push.query.position();
  assert.deepEqual(orThrow(await push.setTopics({ user: 'anna' }, ['a', 'b'])).topics, ['a', 'b']);
  assert.deepEqual(orThrow(await push.changeTopics({ user: 'anna' }, { add: ['c'], remove: ['a'] })).topics, ['b', 'c']);
  assert.deepEqual((await push.query.givenTopics({ user: 'anna' })).topics, ['b', 'c']);
  assert.equal(orThrow(await push.giveTopics({ client: anna.client }, ['d'])).streams, 1);
  orThrow(await push.sendToTopic('d', 'n', { text: 'x' }));
  assert.deepEqual(await take(anna, 1), [{ text: 'x' }]);
  const page = await push.query.events('d', { since: position });
  assert.deepEqual(page.events.map(({ data }) => data), ['{"text":"x"}']);
  assert.equal(orThrow(await push.retract('d', page.events[0].id)).retracted, 1);
  assert.equal((await anna.next()).data.id, page.events[0].id);
  assert.equal(orThrow(await push.retract('d')).retracted, 0);
  assert.deepEqual((await anna.next()).data, { topic: 'd' });
  assert.equal(orThrow(await push.closeTopic('d')).changed, true);
  assert.deepEqual((await anna.next()).data, { topic: 'd' });
  assert.equal(orThrow(await push.openTopic('d')).changed, true);
  assert.deepEqual(orThrow(await push.pollNow('/status?of=anna')), { asked: 0 });
  assert.equal((await push.pollNow('/elsewhere')).ok, false);
  assert.equal((await push.pollNow('status')).error.kind, 'invalid');

  await eventually('anna is online', () => push.isOnline('anna'));
  assert.deepEqual((await push.query.users(['anna', 'ben'])).users, ['anna']);
  assert.equal((await push.query.user('anna')).streams, 1);
  assert.equal((await push.query.presence()).streams, 1);
  assert.deepEqual((await push.query.topic('conversation:42')).users, ['anna']);
  assert.equal((await push.query.connection(anna.client)).user, 'anna');
  assert.equal(await push.query.connection('nobody'), undefined);

  assert.equal(orThrow(await push.revoke({ user: 'anna', for: '1m' })).ended, 1);
  assert.equal((await anna.next()).data.reason, 'revoked');
});

test('its webhooks are known by their signature', async (t) => {
  const secret = 'please-make-one-with-openssl-rand-hex-32';
  let came;
  const delivered = new Promise((resolve) => (came = resolve));
  const hook = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    came({ header: request.headers['sidestream-signature'], body: Buffer.concat(parts) });
    response.end();
  });
  await new Promise((resolve) => hook.listen(0, '127.0.0.1', resolve));
  t.after(() => hook.close());
  const daemon = await startDaemon(t, `${ROUTE}
[[webhook]]
name   = "app"
url    = "http://127.0.0.1:${hook.address().port}/"
secret = "${secret}"
events = ["connected"]
`);
  await openStream(t, daemon, 'userId=anna&sessionId=s1&conversationId=42');
  const { header, body } = await within('a webhook', delivered);
  assert.equal(verifyWebhook(secret, header, body), true);
  assert.equal(verifyWebhook(secret, header, body.toString()), true);
  assert.equal(verifyWebhook('another', header, body), false);
  assert.equal(verifyWebhook('', header, body), false);
  assert.equal(verifyWebhook(secret, header, `${body} `), false);
  assert.equal(verifyWebhook(secret, header.replace(/t=\d+/, 't=1'), body), false);
  assert.equal(verifyWebhook(secret, undefined, body), false);
  assert.equal(verifyWebhook(secret, 't=,v1', body), false);
  assert.equal(JSON.parse(body).events[0].user, 'anna');
});
