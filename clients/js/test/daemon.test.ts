// The client and the real daemon, in Node.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { subscribe } from '@sidestream/client';
import { Daemon, Line, token } from './support/daemon.js';
import { recorder } from './support/recorder.js';
import { until } from './support/until.js';

test('daemon: what is published arrives, and what the stream says of itself', async () => {
  await using daemon = await Daemon.start();
  const { seen, options } = recorder();
  const events = subscribe(`${daemon.origin}/named?user=u7`, options);
  const info = await until('it to open', () => seen.infos[0]);
  assert.deepEqual([info.user, info.topics, info.resumed, info.missed], ['u7', ['news'], false, 0]);
  assert.equal(events.client, info.client);
  const id = await daemon.publish({ text: 'hi' });
  await daemon.publish('not for its sender', { topic: 'news', except: { client: events.client } });
  await daemon.publish('a text', { user: 'u7' });
  await until('two events', () => seen.data.length === 2);
  events.unsubscribe();
  assert.deepEqual(seen.data, [{ text: 'hi' }, 'a text']);
  assert.notEqual(events.lastEventId, id);
  await until('the daemon to notice', async () => (await daemon.streams()) === 0);
});

test('daemon: over many cuts every event comes once, and in order', async () => {
  await using daemon = await Daemon.start();
  await using line = await Line.to(daemon.origin);
  const { seen, options } = recorder();
  const events = subscribe(`${line.origin}/open?topic=news`, options);
  await until('it to open', () => events.state === 'open');
  for (let n = 0; n < 300; n++) {
    if (n % 30 === 15) line.cut();
    await daemon.publish(n);
  }
  await until('all events', () => seen.data.length >= 300);
  events.unsubscribe();
  assert.deepEqual(
    seen.data,
    Array.from({ length: 300 }, (_, n) => n),
  );
  assert.deepEqual(seen.resets, []);
  assert.ok(seen.infos.slice(1).every(({ resumed }) => resumed));
  assert.ok(seen.infos.length > 5, `${seen.infos.length} connections`);
});

test('daemon: while nobody answers it goes on trying, and misses nothing', async () => {
  await using daemon = await Daemon.start();
  await using line = await Line.to(daemon.origin);
  const { seen, options } = recorder();
  const events = subscribe(`${line.origin}/open?topic=news`, options);
  await until('it to open', () => events.state === 'open');
  line.refusing = true;
  line.cut();
  await until('six failures', () => seen.errors.length >= 6);
  assert.ok(seen.errors.every(({ kind, final }) => kind === 'network' && !final));
  await daemon.publish('meanwhile');
  line.refusing = false;
  await until('what was missed', () => seen.data.length);
  events.unsubscribe();
  assert.deepEqual(seen.data, ['meanwhile']);
  assert.equal(seen.infos.at(-1)!.missed, 1);
});

test('daemon: a line that passes nothing on any more is noticed, heartbeats keep a quiet one', async () => {
  await using daemon = await Daemon.start({ sse: 'retry_min = "10ms"\nretry_max = "50ms"\nheartbeat = "1s"' });
  await using line = await Line.to(daemon.origin);
  const { seen, options } = recorder();
  const events = subscribe(`${line.origin}/open?topic=news`, { ...options, silence: 1_800 });
  await until('it to open', () => events.state === 'open');
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  assert.equal(line.count, 1, 'it was quiet, and not dead');
  line.stall();
  await until('it to notice', () => seen.errors.length);
  await daemon.publish(1);
  await until('the event', () => seen.data.length);
  events.unsubscribe();
  assert.equal(seen.errors[0]!.kind, 'silent');
});

test('daemon: the log that begins anew is told as a reset', async () => {
  await using daemon = await Daemon.start();
  const { seen, options } = recorder();
  const events = subscribe(`${daemon.origin}/open?topic=news`, options);
  await until('it to open', () => events.state === 'open');
  await daemon.stop();
  await using after = await Daemon.start({}, new URL(daemon.origin).host);
  await until('the reset', () => seen.resets.length);
  await after.publish('after');
  await until('the event', () => seen.data.length);
  events.unsubscribe();
  assert.deepEqual(seen.resets, [{ reason: 'other_log' }]);
});

test('daemon: what the log has let go of is told as a reset', async () => {
  await using daemon = await Daemon.start({ log: 'max_events = 5' });
  const { seen, options } = recorder();
  const first = await daemon.publish(0);
  for (let n = 1; n < 20; n++) await daemon.publish(n);
  const events = subscribe(`${daemon.origin}/open?topic=news`, { ...options, lastEventId: first });
  await until('the reset', () => seen.resets.length);
  events.unsubscribe();
  assert.deepEqual(seen.resets, [{ reason: 'too_old' }]);
});

test('daemon: a stop is a disconnect with its reason, and no error', async () => {
  await using daemon = await Daemon.start();
  const { seen, options } = recorder();
  const events = subscribe(`${daemon.origin}/open?topic=news`, options);
  await until('it to open', () => events.state === 'open');
  await daemon.stop('SIGTERM');
  await until('the end', () => seen.ends.length);
  events.unsubscribe();
  assert.equal(seen.ends[0]!.reason, 'draining');
});

test('daemon: a stream outlives its token, as a new one is presented for it', async () => {
  await using daemon = await Daemon.start();
  const { seen, options } = recorder();
  const asked: string[] = [];
  const events = subscribe(`${daemon.origin}/jwt`, {
    ...options,
    token: async (why) => (asked.push(why), token(asked.length > 1 ? 60 : 2)),
  });
  await until('the renewal', () => asked.length === 2);
  // Past the end of the first token.
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  await daemon.publish(1);
  await until('the event', () => seen.data.length);
  events.unsubscribe();
  assert.deepEqual(asked, ['connect', 'expired']);
  assert.equal(seen.infos.length, 1);
  assert.deepEqual(seen.errors, []);
});

test('daemon: after a cut it comes with a new token, though the first one has ended', async () => {
  await using daemon = await Daemon.start({ auth: 'warn_before = "0s"' });
  await using line = await Line.to(daemon.origin);
  const { seen, options } = recorder();
  let calls = 0;
  const events = subscribe(`${line.origin}/jwt`, { ...options, token: () => token(++calls === 1 ? 1 : 60) });
  await until('its end', () => seen.ends.length, 8_000);
  await until('the second stream', () => seen.infos.length === 2);
  line.cut();
  await until('the third stream', () => seen.infos.length === 3);
  events.unsubscribe();
  assert.equal(seen.ends[0]!.reason, 'expired');
  assert.equal(calls, 3);
});

test('daemon: an expired token from a cache is asked for again, once, and then it is final with its reason', async () => {
  await using daemon = await Daemon.start();
  const { seen, options } = recorder();
  const asked: string[] = [];
  const events = subscribe(`${daemon.origin}/jwt`, { ...options, token: (why) => (asked.push(why), token(-100)) });
  await until('it to give up', () => events.state === 'closed');
  assert.deepEqual(asked, ['connect', 'refused']);
  assert.deepEqual(
    seen.errors.map(({ status, reason, final }) => [status, reason, final]),
    [[401, 'expired', true]],
  );
  events.unsubscribe();
});

test('daemon: kicked, it comes back; sent away, it stays away', async () => {
  await using daemon = await Daemon.start();
  const { seen, options } = recorder();
  const events = subscribe(`${daemon.origin}/named?user=u7`, options);
  await until('it to open', () => events.state === 'open');
  await daemon.request('DELETE', '/users/u7/connections');
  await until('it to come back', () => seen.infos.length === 2);
  await daemon.request('DELETE', '/users/u7/connections?reconnect=false');
  await until('it to stop', () => events.state === 'closed');
  assert.deepEqual(
    seen.ends.map(({ reason, next }) => [reason, next !== undefined]),
    [
      ['kicked', true],
      ['sent_away', false],
    ],
  );
  // A page that is loaded anew reads 204.
  const second = recorder();
  const again = subscribe(`${daemon.origin}/named?user=u7`, second.options);
  await until('it to stop, too', () => again.state === 'closed');
  assert.deepEqual(second.seen.errors, []);
  for (const each of [events, again]) each.unsubscribe();
});

test('daemon: a refusal that passes is waited out', async () => {
  await using daemon = await Daemon.start({ limits: 'streams_per_user = 1' });
  const one = recorder();
  const first = subscribe(`${daemon.origin}/named?user=u7`, one.options);
  await until('it to open', () => first.state === 'open');
  const two = recorder();
  const second = subscribe(`${daemon.origin}/named?user=u7`, two.options);
  await until('the refusal', () => two.seen.errors.length);
  assert.deepEqual(two.seen.errors.map(({ kind, reason }) => [kind, reason])[0], ['refused', 'limit_streams_per_user']);
  assert.deepEqual(two.seen.infos, []);
  first.unsubscribe();
  await until('the second to get in', () => second.state === 'open');
  second.unsubscribe();
});

test('daemon: a page publishes to everybody else on a topic, as its token lets it', async () => {
  await using daemon = await Daemon.start();
  const one = recorder();
  const two = recorder();
  const open = (of: ReturnType<typeof recorder>, sub: string, publish: string[]) =>
    subscribe(`${daemon.origin}/jwt`, { ...of.options, token: () => token(60, { sub, topics: ['room:*'], publish }) });
  const ada = open(one, 'ada', ['room:*']);
  // There is no stream yet: nothing is sent.
  await ada.publish({ topic: 'room:7', event: 'typing' });
  const ben = open(two, 'ben', []);
  await until('both to open', () => ada.state === 'open' && ben.state === 'open');
  await Promise.all([ada.topics.add('room:7'), ben.topics.add('room:7')]);
  await ada.publish({ topic: 'room:7', event: 'typing', data: { on: true } });
  await daemon.publish('behind', { topic: 'room:7' });
  await until('both to have it', () => one.seen.data.length && two.seen.data.length === 2);
  assert.deepEqual(two.seen.data[0], { user: 'ada', data: { on: true } });
  assert.equal(one.seen.data.length, 1);
  await assert.rejects(ben.publish({ topic: 'room:7', event: 'typing' }), { kind: 'status', status: 403, reason: 'publish_not_granted' });
  for (const each of [ada, ben]) each.unsubscribe();
});

test('daemon: own topics come and go on the running stream, and are there again after a cut', async () => {
  await using daemon = await Daemon.start();
  await using line = await Line.to(daemon.origin);
  const { seen, options } = recorder();
  const events = subscribe(`${line.origin}/jwt`, { ...options, token: () => token(60, { topics: ['room:*'] }) });
  await until('it to open', () => events.state === 'open');
  await events.topics.add('room:7', 'room:8');
  await daemon.publish('first', { topic: 'room:7' });
  await events.topics.remove('room:8');
  await daemon.publish('not', { topic: 'room:8' });
  line.cut();
  await until('what was missed to be told', () => seen.resets.length);
  assert.deepEqual(seen.resets, [{ reason: 'topics' }]);
  await daemon.publish('not', { topic: 'room:8' });
  await daemon.publish('second', { topic: 'room:7' });
  await until('both', () => seen.data.length === 2);
  await assert.rejects(events.topics.add('secret'), { status: 403, reason: 'topic_not_granted' });
  events.unsubscribe();
  assert.deepEqual(seen.data, ['first', 'second']);
});

test('daemon: who comes and goes is told', async () => {
  await using daemon = await Daemon.start();
  const seen: [string, boolean][] = [];
  const watcher = subscribe(`${daemon.origin}/open?topic=presence`, {
    onPresence: ({ user, online }) => seen.push([user, online]),
  });
  await until('it to open', () => watcher.state === 'open');
  const other = subscribe(`${daemon.origin}/named?user=u8`);
  await until('the coming', () => seen.length === 1);
  other.unsubscribe();
  await until('the going', () => seen.length === 2);
  watcher.unsubscribe();
  assert.deepEqual(seen, [
    ['u8', true],
    ['u8', false],
  ]);
});

test('daemon: typed streams are read as such', async () => {
  await using daemon = await Daemon.start({
    sse: 'events = "typed"\nconnected_as = "connection_established"\nretry_min = "10ms"\nretry_max = "50ms"',
  });
  await using line = await Line.to(daemon.origin);
  const { seen, options } = recorder();
  const types: string[] = [];
  const events = subscribe(`${line.origin}/named?user=u7`, { ...options, onState: () => {} });
  events.on('*', (_, { type, timestamp }) => types.push(`${type} ${typeof timestamp}`));
  await until('it to open', () => events.state === 'open');
  await daemon.publish('hi');
  line.cut();
  await daemon.publish({ text: 'ho' });
  await until('both', () => seen.data.length === 2);
  await daemon.request('DELETE', '/users/u7/connections?reconnect=false');
  await until('the end', () => events.state === 'closed');
  events.unsubscribe();
  assert.deepEqual(seen.data, ['hi', { text: 'ho' }]);
  assert.deepEqual(types, ['message:new string', 'message:new string']);
  assert.equal(seen.infos[0]!.user, 'u7');
});
