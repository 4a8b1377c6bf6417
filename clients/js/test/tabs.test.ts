// What one tab tells another, where a message may be missed: with locks, a channel and a connection that do as told.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { Connect, Link, LinkOptions, Sink } from '@sidestream/client';
import { tabs } from '@sidestream/client/tabs';
import { until } from './support/until.js';

/** Web Locks of one name. */
class Locks {
  holder: { free(): void; fail(error: Error): void } | undefined;
  waiting: { grant(): void }[] = [];
  request(
    _: string,
    { signal, steal }: { signal?: AbortSignal; steal?: boolean },
    granted: () => Promise<void>,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const candidate = {
        grant: () => {
          const held = { free: () => {}, fail: reject };
          this.holder = held;
          void granted().then(() => {
            resolve();
            if (this.holder !== held) return;
            this.holder = undefined;
            this.waiting.shift()?.grant();
          });
        },
      };
      signal?.addEventListener('abort', () => {
        this.waiting = this.waiting.filter((one) => one !== candidate);
        reject(signal.reason);
      });
      if (steal) {
        this.holder?.fail(new DOMException('stolen', 'AbortError'));
        this.holder = undefined;
      }
      if (this.holder) this.waiting.push(candidate);
      else candidate.grant();
    });
  }
  query = async () => ({ pending: this.waiting.map(() => ({ name: 'sidestream:x' })) });
}

/** A BroadcastChannel whose members can be deaf for a while. */
class Channel {
  static members = new Set<Channel>();
  static deaf = new Set<Channel>();
  static last: Channel;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  constructor() {
    Channel.members.add(this);
    Channel.last = this;
  }
  postMessage(data: unknown) {
    const copy = structuredClone(data);
    for (const other of Channel.members)
      if (other !== this && !Channel.deaf.has(other))
        queueMicrotask(() => Channel.members.has(other) && other.onmessage?.({ data: copy }));
  }
  close() {
    Channel.members.delete(this);
  }
}

const before = Object.getOwnPropertyDescriptors(globalThis);
let locks: Locks;
beforeEach(() => {
  locks = new Locks();
  Object.defineProperty(globalThis, 'navigator', { value: { locks }, configurable: true, writable: true });
  Object.defineProperty(globalThis, 'BroadcastChannel', { value: Channel, configurable: true, writable: true });
});
const open = new Set<Tab>();
afterEach(() => {
  for (const tab of open) tab.leave();
  open.clear();
  Channel.members.clear();
  Channel.deaf.clear();
  for (const name of ['navigator', 'BroadcastChannel'] as const) {
    if (before[name]) Object.defineProperty(globalThis, name, before[name]);
    else delete (globalThis as any)[name];
  }
});

/** A tab, and its connection once it leads. */
class Tab {
  readonly data: unknown[] = [];
  readonly resets: string[] = [];
  readonly states: string[] = [];
  cursor = '';
  /** Of the connection that it has: what it began with, and how to speak as the server. */
  begun: LinkOptions | undefined;
  server!: Sink;
  readonly #link: Link;
  readonly channel: Channel;

  constructor(options: Partial<LinkOptions> = {}) {
    const at = (id?: string) => void (this.cursor = id ?? this.cursor);
    const sink: Sink = {
      state: (state, _reason, _next, _info, id) => (at(id), void this.states.push(state)),
      event: ({ data, id }) => (at(id), void this.data.push(data)),
      reset: (reason, id) => (at(id), void this.resets.push(reason)),
      error: () => {},
    };
    const connect: Connect = (options, server) => {
      this.begun = options;
      this.server = server;
      return { resume() {}, pause() {}, wake() {}, renew: async () => {}, topics: async () => {}, publish: async () => {} };
    };
    this.#link = tabs('x')(connect)({ url: '/', ...options }, sink);
    this.#link.resume();
    this.channel = Channel.last;
    open.add(this);
  }

  deaf(is: boolean) {
    Channel.deaf[is ? 'add' : 'delete'](this.channel);
  }

  /** Dies without a word. */
  die() {
    Channel.members.delete(this.channel);
    this.#link.pause('');
  }

  leave() {
    this.#link.pause('');
  }

  wake() {
    this.#link.wake(false);
  }

  opens(id: string) {
    this.server.state('open', '', 0, { client: 'c', topics: [] }, id);
  }

  says(...ids: string[]) {
    for (const id of ids) this.server.event({ type: 'message', data: id, text: JSON.stringify(id), id });
  }
}

const soon = () => new Promise((resolve) => setTimeout(resolve, 10));
const id = (n: number) => `${n}-0-aaaaaa`;

/** A leader whose stream begins behind `10`, and others. */
async function group(size: number, name = id) {
  const leader = new Tab();
  await until('it to lead', () => leader.begun);
  leader.opens(name(10));
  const others = Array.from({ length: size - 1 }, () => new Tab());
  await until('all to be open', () => others.every(({ states }) => states.at(-1) === 'open'));
  return [leader, ...others] as Tab[];
}

for (const [kind, name] of [
  ['ids that grow', id],
  ['ids of another server', (n: number) => `x${n}y`],
] as const) {
  test(`tabs: what a tab did not hear it gets from the leader, in order and once: ${kind}`, async () => {
    const [leader, other] = await group(2, name);
    leader!.says(name(11));
    await soon();
    other!.deaf(true);
    leader!.says(name(12), name(13));
    await soon();
    other!.deaf(false);
    leader!.says(name(14));
    leader!.says(name(15));
    await until('all of them', () => other!.data.length >= 5);
    await soon();
    assert.deepEqual(other!.data, [11, 12, 13, 14, 15].map(name));
    assert.deepEqual(leader!.data, other!.data);
    assert.deepEqual(other!.resets, []);
  });

  test(`tabs: a new leader that is behind repeats nothing to those ahead of it: ${kind}`, async () => {
    const [first, second, third] = await group(3, name);
    first!.says(name(11));
    await soon();
    second!.deaf(true);
    first!.says(name(12));
    await soon();
    second!.deaf(false);
    first!.die();
    await until('the second to lead', () => second!.begun);
    assert.equal(second!.begun!.lastEventId, name(11));
    await soon();
    // It resumes, and gets again what the third has.
    second!.opens(name(11));
    second!.says(name(12), name(13));
    await until('the last', () => third!.data.includes(name(13)));
    await soon();
    for (const tab of [second, third]) {
      assert.deepEqual(tab!.data, [11, 12, 13].map(name));
      assert.deepEqual(tab!.resets, []);
    }
  });

  test(`tabs: a new leader that is ahead gives the others what they lack: ${kind}`, async () => {
    const [first, second, third] = await group(3, name);
    third!.deaf(true);
    first!.says(name(11), name(12));
    await soon();
    third!.deaf(false);
    first!.die();
    await until('the second to lead', () => second!.begun);
    second!.opens(name(12));
    second!.says(name(13));
    await until('all of them', () => third!.data.length >= 3);
    await soon();
    for (const tab of [second, third]) {
      assert.deepEqual(tab!.data, [11, 12, 13].map(name));
      assert.deepEqual(tab!.resets, []);
    }
  });
}

test('tabs: what no tab has any more is told as a reset, and it goes on from there', async () => {
  const [leader, other] = await group(2);
  other!.deaf(true);
  leader!.says(...Array.from({ length: 1_100 }, (_, n) => id(11 + n)));
  await soon();
  other!.deaf(false);
  leader!.says(id(2_000));
  await until('the reset', () => other!.resets.length);
  leader!.says(id(2_001));
  await until('the next', () => other!.data.length);
  assert.deepEqual(other!.resets, ['tabs']);
  assert.deepEqual(other!.data, [id(2_001)]);
  assert.equal(other!.cursor, id(2_001));
});

test('tabs: a tab that has only just come leads on from what the others have', async () => {
  const [first, second] = await group(2);
  first!.says(id(11));
  await soon();
  // Hears nothing before it has to lead, and stands before the second.
  const fresh = new Tab();
  locks.waiting.reverse();
  fresh.deaf(true);
  first!.die();
  fresh.deaf(false);
  await until('it to lead', () => fresh.begun);
  assert.equal(fresh.begun!.lastEventId, id(11));
  fresh.opens(id(11));
  fresh.says(id(12));
  await until('the event', () => second!.data.length === 2);
  assert.deepEqual(second!.data, [id(11), id(12)]);
  assert.deepEqual(second!.resets, []);
});

test('tabs: a leader that does not answer is relieved; what it says then counts for nothing', async () => {
  const [first, second, third] = await group(3);
  first!.deaf(true);
  second!.wake();
  await until('the second to lead', () => second!.begun, 6_000);
  second!.opens(id(10));
  await until('the third to follow', () => third!.states.at(-1) === 'open');
  first!.says(id(90));
  second!.says(id(11));
  await until('the event', () => third!.data.length);
  await soon();
  assert.deepEqual(third!.data, [id(11)]);
});

test('tabs: errors come with what they say, in every tab', async () => {
  const [leader, other] = await group(2);
  const errors: any[] = [];
  const third = tabs('x')(() => assert.fail('it does not lead'))(
    { url: '/' },
    { state() {}, event() {}, reset() {}, error: (error) => errors.push(error) },
  );
  third.resume();
  await soon();
  leader!.server.error(
    Object.assign(new Error('status: limit', { cause: () => {} }), {
      kind: 'status' as const,
      status: 503,
      reason: 'limit',
      attempt: 2,
      final: false,
      next: 7,
    }),
  );
  await until('the error', () => errors.length);
  third.pause('');
  assert.equal(errors[0] instanceof Error, true);
  const { message, kind, status, reason, attempt, next } = errors[0];
  assert.deepEqual(
    { message, kind, status, reason, attempt, next },
    { message: 'status: limit', kind: 'status', status: 503, reason: 'limit', attempt: 2, next: 7 },
  );
  assert.ok(other);
});
