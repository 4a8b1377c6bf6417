import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { SidestreamError } from './errors.js';
import { Client, type Key } from './http.js';
import { Queries } from './queries.js';
import { Queue } from './queue.js';
import { query, segment } from './url.js';
import type * as type from './types.js';
import type { Envelope, EventOptions, Name, Outcome, Receipt, SidestreamEvent } from './types.js';

export interface PublisherOptions {
  /** The daemon's internal listener. Default: SIDESTREAM_URL, or http://127.0.0.1:8081. */
  url?: string;
  /** One of `internal.publish_keys`. Default: SIDESTREAM_KEY, or SIDESTREAM_PUBLISH_KEY. */
  key?: Key;
  /** The topic of a conversation. Default: `conversation:<id>`. */
  conversationTopic?: (id: Name) => string;
  /** How long a call that is awaited waits for its answer before it settles as `queued`, in milliseconds. Default 1,000. */
  patience?: number;
  /** For how long an event is tried. Keep it below the daemon's `log.idempotency_window` (10 min). Default 60,000 ms. */
  giveUpAfter?: number;
  /** How long a request may take. Default 5,000 ms. */
  timeout?: number;
  /** How long a question (`hasConnection` …) may take. Default 3,000 ms. */
  queryTimeout?: number;
  /** Calls that may wait. Default 10,000. */
  maxQueue?: number;
  /** Bytes that may wait. Default 32 MiB. */
  maxQueueBytes?: number;
  /** Events in one request, at most the daemon's `internal.max_batch`. Default 500. */
  maxBatch?: number;
  /** The first pause after a failure, which doubles with each one. Default 100 ms. */
  minBackoff?: number;
  /** The longest one. Default 5,000 ms. */
  maxBackoff?: number;
  /** How long a process that has nothing else to do stays for what is queued. Default 2,000 ms. */
  exitDeadline?: number;
  /** Hears of everything that fails. Default: one line in ten seconds on the console. */
  onError?: (error: SidestreamError, about: Failure) => void;
}

export interface Failure {
  /** How many calls it is about. */
  count: number;
  /** Whether they will be tried again. */
  retrying: boolean;
}

export interface PublishOptions {
  /** Instead of `patience`; `Infinity`: until it is done or given up. */
  wait?: number;
}

/** Events by name, with their data: `Publisher<{ 'message:new': Message }>`. */
export type EventMap = Record<string, unknown>;

interface Events {
  /** The daemon does not answer any more. */
  down: [error: SidestreamError];
  /** It does again. */
  up: [];
  error: [error: SidestreamError, about: Failure];
}

/**
 * Publishes to sidestream. No method that sends ever throws or rejects, awaited or not; what is called first is sent first.
 * Methods are bound: `const { sendToUser } = new Publisher()` works.
 */
export class Publisher<Map extends EventMap = Record<string, any>> extends EventEmitter<Events> {
  /** What sidestream can be asked. These reject with a SidestreamError when there is no answer. */
  readonly query: Queries;
  readonly #client: Client;
  readonly #asking: Client;
  readonly #queue: Queue;
  readonly #patience: number;
  readonly #topic: (id: Name) => string;
  readonly #idempotency = `${randomBytes(12).toString('base64url')}/`;
  readonly #flushAtExit: () => void;
  #sent = 0;
  #unsaid = 0;
  #lastSaid = -Infinity;

  constructor(options: PublisherOptions = {}) {
    super();
    const environment = process.env;
    const url = options.url ?? (environment['SIDESTREAM_URL'] || 'http://127.0.0.1:8081');
    const key = options.key ?? environment['SIDESTREAM_KEY'] ?? environment['SIDESTREAM_PUBLISH_KEY'] ?? '';
    // What has an order goes over one connection of its own, which questions cannot hold up.
    this.#client = new Client(url, key, 1, false);
    this.#asking = new Client(url, key, 8, true);
    this.#patience = options.patience ?? 1000;
    this.#topic = options.conversationTopic ?? ((id) => `conversation:${id}`);
    const exitDeadline = options.exitDeadline ?? 2000;
    this.#flushAtExit = () => {
      void this.flush(exitDeadline).then((all) => all || this.close(0));
    };
    this.#queue = new Queue(
      this.#client,
      {
        maxQueue: options.maxQueue ?? 10_000,
        maxQueueBytes: options.maxQueueBytes ?? 32 * 1024 * 1024,
        maxBatch: options.maxBatch ?? 500,
        timeout: options.timeout ?? 5000,
        giveUpAfter: options.giveUpAfter ?? 60_000,
        minBackoff: options.minBackoff ?? 100,
        maxBackoff: options.maxBackoff ?? 5000,
      },
      {
        failed: (error, count, retrying) => this.#report(error, { count, retrying }),
        down: (error) => this.#emit('down', error),
        up: () => this.#emit('up'),
      },
    );
    this.query = new Queries(this.#asking, options.queryTimeout ?? 3000);
    if (options.onError) this.on('error', options.onError);
    for (const name of Object.getOwnPropertyNames(Publisher.prototype)) {
      const method: unknown = Reflect.get(this, name);
      if (name !== 'constructor' && typeof method === 'function') {
        Object.defineProperty(this, name, { value: method.bind(this), configurable: true, writable: true });
      }
    }
  }

  // ——— sending

  /** Sends an event to the audience of the envelope. */
  publish(envelope: Envelope, options: PublishOptions = {}): Promise<Outcome<Receipt>> {
    let text: string;
    try {
      const { idempotencyKey, data, ...rest } = envelope;
      this.#sent += 1;
      const key = idempotencyKey ?? `${this.#idempotency}${this.#sent}`;
      // Now, not when it is sent: what the caller changes later is another event.
      text = JSON.stringify({ ...rest, data: data ?? null, idempotency_key: key });
    } catch (cause) {
      return this.#invalid(`the event is no JSON: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
    }
    return this.#add<Receipt>(text, undefined, options.wait);
  }

  sendToUser<Event extends keyof Map & string>(
    user: Name, event: Event, data: Map[Event], options?: EventOptions,
  ): Promise<Outcome<Receipt>>;
  sendToUser(user: Name, event: SidestreamEvent): Promise<Outcome<Receipt>>;
  sendToUser(user: Name, event: string | SidestreamEvent, data?: unknown, options?: EventOptions) {
    return this.#to('user', user, event, data, options);
  }

  sendToUsers<Event extends keyof Map & string>(
    users: Iterable<Name>, event: Event, data: Map[Event], options?: EventOptions,
  ): Promise<Outcome<Receipt>>;
  sendToUsers(users: Iterable<Name>, event: SidestreamEvent): Promise<Outcome<Receipt>>;
  sendToUsers(users: Iterable<Name>, event: string | SidestreamEvent, data?: unknown, options?: EventOptions) {
    const all = users && typeof users !== 'string' && Symbol.iterator in Object(users) ? [...users] : undefined;
    if (!all || !all.every(isName)) return this.#invalid('`users` has to be a list of users');
    // For nobody: as a loop over nobody would do.
    if (all.length === 0) return Promise.resolve(done<Receipt>({ id: null, matched: 0 }));
    return this.publish({ ...eventOf(event, data, options), users: all });
  }

  sendToSession<Event extends keyof Map & string>(
    session: Name, event: Event, data: Map[Event], options?: EventOptions,
  ): Promise<Outcome<Receipt>>;
  sendToSession(session: Name, event: SidestreamEvent): Promise<Outcome<Receipt>>;
  sendToSession(session: Name, event: string | SidestreamEvent, data?: unknown, options?: EventOptions) {
    return this.#to('session', session, event, data, options);
  }

  /** To a single stream, by the `client` of its `connected` event. */
  sendToClient<Event extends keyof Map & string>(
    client: string, event: Event, data: Map[Event], options?: EventOptions,
  ): Promise<Outcome<Receipt>>;
  sendToClient(client: string, event: SidestreamEvent): Promise<Outcome<Receipt>>;
  sendToClient(client: string, event: string | SidestreamEvent, data?: unknown, options?: EventOptions) {
    return this.#to('client', client, event, data, options);
  }

  sendToTopic<Event extends keyof Map & string>(
    topic: Name, event: Event, data: Map[Event], options?: EventOptions,
  ): Promise<Outcome<Receipt>>;
  sendToTopic(topic: Name, event: SidestreamEvent): Promise<Outcome<Receipt>>;
  sendToTopic(topic: Name, event: string | SidestreamEvent, data?: unknown, options?: EventOptions) {
    return this.#to('topic', topic, event, data, options);
  }

  /** To all streams of a conversation, but those of `exceptUser`. */
  broadcastToConversation<Event extends keyof Map & string>(
    id: Name, event: Event, data: Map[Event], exceptUser?: Name | null, options?: EventOptions,
  ): Promise<Outcome<Receipt>>;
  broadcastToConversation(id: Name, event: SidestreamEvent, exceptUser?: Name | null): Promise<Outcome<Receipt>>;
  broadcastToConversation(id: Name, event: string | SidestreamEvent, ...rest: unknown[]) {
    const [data, exceptUser, options] = typeof event === 'string' ? rest : [undefined, ...rest];
    if (!isName(id)) return this.#invalid('the conversation has no id');
    const made = eventOf(event, data, options as EventOptions | undefined);
    if (isName(exceptUser)) made.except = { ...made.except, user: exceptUser };
    return this.publish({ ...made, topic: this.#topic(id) });
  }

  /** To every stream. */
  sendToAll<Event extends keyof Map & string>(
    event: Event, data: Map[Event], options?: EventOptions,
  ): Promise<Outcome<Receipt>>;
  sendToAll(event: SidestreamEvent): Promise<Outcome<Receipt>>;
  sendToAll(event: string | SidestreamEvent, data?: unknown, options?: EventOptions) {
    return this.publish({ ...eventOf(event, data, options), broadcast: true });
  }

  // ——— steering streams, in the same order as what is sent

  /** Closes a stream. It is done as well when there is no such stream. */
  disconnectClient(client: string, closing: type.Closing = {}): Promise<Outcome<type.Closed>> {
    if (!isName(client)) return this.#invalid('the client has no name');
    return this.#command('DELETE', `/connections/${segment(client)}${query({ ...closing })}`, undefined, true);
  }

  /** Closes all streams of a user. */
  disconnectUser(user: Name, closing: type.Closing = {}): Promise<Outcome<type.Closed>> {
    if (!isName(user)) return this.#invalid('the user has no name');
    return this.#command('DELETE', `/users/${segment(user)}/connections${query({ ...closing })}`);
  }

  /** Closes all streams of a session. */
  disconnectSession(session: Name, closing: type.Closing = {}): Promise<Outcome<type.Closed>> {
    if (!isName(session)) return this.#invalid('the session has no name');
    return this.#command('DELETE', `/sessions/${segment(session)}/connections${query({ ...closing })}`);
  }

  /** Gives topics beside those that the holder has: open streams follow at once. */
  giveTopics(holder: type.Holder, topics: readonly Name[]): Promise<Outcome<type.GivenTopics>> {
    return this.changeTopics(holder, { add: topics });
  }

  /** Takes topics away. */
  takeTopics(holder: type.Holder, topics: readonly Name[]): Promise<Outcome<type.GivenTopics>> {
    return this.changeTopics(holder, { remove: topics });
  }

  /** Takes some away, then adds some, in one step. */
  changeTopics(
    holder: type.Holder, change: { add?: readonly Name[]; remove?: readonly Name[] },
  ): Promise<Outcome<type.GivenTopics>> {
    return this.#topics('POST', holder, change);
  }

  /** Gives these topics and no others. */
  setTopics(holder: type.Holder, topics: readonly Name[]): Promise<Outcome<type.GivenTopics>> {
    return this.#topics('PUT', holder, { topics });
  }

  /** Takes grants back: ends their streams and keeps them out. */
  revoke(revocation: type.Revocation): Promise<Outcome<type.Revoked>> {
    return this.#command('POST', '/revoke', revocation);
  }

  /** Takes back an event of a topic, from all of its recipients; without an id, all that is kept of the topic. */
  retract(topic: Name, id?: string): Promise<Outcome<{ retracted: number }>> {
    const event = id === undefined ? '' : `/events/${segment(id)}`;
    return this.#command('DELETE', `/topics/${segment(topic)}${event}`);
  }

  /** Ends a topic: its readers lose it, and later ones do not get it. */
  closeTopic(topic: Name): Promise<Outcome<{ changed: boolean }>> {
    return this.#command('POST', `/topics/${segment(topic)}/close`);
  }

  /** Lets a topic that has ended begin anew. */
  openTopic(topic: Name): Promise<Outcome<{ changed: boolean }>> {
    return this.#command('POST', `/topics/${segment(topic)}/open`);
  }

  /** Asks the application at once for what is polled there: `/api/status`, with a query only for those who ask with it. */
  pollNow(path: string): Promise<Outcome<{ asked: number }>> {
    if (typeof path !== 'string' || !path.startsWith('/')) return this.#invalid('a path begins with a slash');
    return this.#command('POST', `/poll${path}`);
  }

  // ——— asking, as the services that it replaces did: without an answer `false`, 0 or nobody, and `onError` hears why

  /** Whether a user has an open stream on any instance. */
  hasConnection(user: Name): Promise<boolean> {
    return this.#ask(async () => (await this.query.count({ user })).total > 0, false);
  }

  /** Whether a user is there: also for `presence.grace` after the last stream has ended. */
  isOnline(user: Name): Promise<boolean> {
    return this.#ask(async () => (await this.query.user(user)).online, false);
  }

  /** How many streams are open on all instances, all or those of `filter`. */
  getConnectionCount(filter: type.ConnectionFilter = {}): Promise<number> {
    return this.#ask(async () => (await this.query.count(filter)).total, 0);
  }

  /** All open streams of all instances, or those of `filter`, however many pages they are. */
  getActiveConnections(filter: type.ConnectionFilter = {}): Promise<type.Connection[]> {
    return this.#ask(async () => {
      const all: type.Connection[] = [];
      for await (const connection of this.query.connections(filter)) all.push(connection);
      return all;
    }, []);
  }

  /** Streams by instance, and what this publisher has done. */
  getStats(): Promise<type.ConnectionCount & { publisher: type.Counters }> {
    const nothing: type.ConnectionCount = { total: 0, instances: [], complete: false };
    return this.#ask(() => this.query.count(), nothing).then((count) => ({ ...count, publisher: this.counters() }));
  }

  // ——— the publisher itself

  counters(): type.Counters {
    return this.#queue.counters();
  }

  /** Waits until all calls so far are settled; `false` when that takes longer than `deadline` milliseconds. */
  flush(deadline = 5000): Promise<boolean> {
    return this.#queue.flush(deadline);
  }

  /** Takes no more calls, sends what is queued, and gives up what is left after `deadline` milliseconds. */
  async close(deadline = 5000): Promise<boolean> {
    const all = await this.#queue.close(deadline);
    this.#client.close();
    this.#asking.close();
    unsent.delete(this.#flushAtExit);
    return all;
  }

  #to(kind: 'user' | 'session' | 'client' | 'topic', name: Name, event: string | SidestreamEvent, data: unknown,
    options: EventOptions | undefined) {
    if (!isName(name)) return this.#invalid(`the ${kind} has no name`);
    return this.publish({ ...eventOf(event, data, options), [kind]: name });
  }

  #topics(method: string, holder: type.Holder, body: object): Promise<Outcome<type.GivenTopics>> {
    const [[kind, name] = []] = Object.entries(holder ?? {}) as [string, unknown][];
    if ((kind !== 'user' && kind !== 'session' && kind !== 'client') || !isName(name)) {
      return this.#invalid('topics are given to a `user`, a `session` or a `client`');
    }
    return this.#command(method, `/${kind}s/${segment(name)}/topics`, body);
  }

  #command<Value>(method: string, path: string, body?: object, gone = false): Promise<Outcome<Value>> {
    let text: string | undefined;
    try {
      text = body && JSON.stringify(body);
    } catch (cause) {
      return this.#invalid(`${method} ${path}: the body is no JSON`, cause);
    }
    return this.#add<Value>(text, { method, path, gone });
  }

  #add<Value>(
    text: string | undefined, command?: { method: string; path: string; gone: boolean }, wait = this.#patience,
  ): Promise<Outcome<Value>> {
    flushAtExit(this.#flushAtExit);
    return this.#queue.add(text, command, wait) as Promise<Outcome<Value>>;
  }

  #invalid<Value>(message: string, cause?: unknown): Promise<Outcome<Value>> {
    const error = new SidestreamError(message, { kind: 'invalid', cause });
    this.#report(error, { count: 1, retrying: false });
    return Promise.resolve({ ok: false, status: 'failed', error });
  }

  async #ask<Value>(question: () => Promise<Value>, otherwise: Value): Promise<Value> {
    try {
      return await question();
    } catch (error) {
      this.#report(error as SidestreamError, { count: 1, retrying: false });
      return otherwise;
    }
  }

  #report(error: SidestreamError, about: Failure): void {
    if (this.listenerCount('error') > 0) return this.#emit('error', error, about);
    if (Date.now() - this.#lastSaid < 10_000) {
      this.#unsaid += 1;
      return;
    }
    const more = this.#unsaid > 0 ? ` (and ${this.#unsaid} more like it)` : '';
    this.#lastSaid = Date.now();
    this.#unsaid = 0;
    console.warn(`sidestream: ${error.message}${about.retrying ? '; trying again' : ''}${more}`);
  }

  /** A listener that throws must not end the application, nor the queue. */
  #emit<Name extends keyof Events>(name: Name, ...values: Events[Name]): void {
    try {
      (this.emit as (name: string, ...values: unknown[]) => boolean)(name, ...values);
    } catch (error) {
      console.error(`sidestream: a listener of \`${name}\` threw`, error);
    }
  }
}

/** What is called when the process has nothing else to do: a publisher's flush, while it has something to send. */
const unsent = new Set<() => void>();
let watchesExit = false;

function flushAtExit(flush: () => void): void {
  unsent.add(flush);
  if (watchesExit) return;
  watchesExit = true;
  // It comes again when what it began has ended; the second time nothing is begun, and the process ends.
  process.on('beforeExit', () => {
    const all = [...unsent];
    unsent.clear();
    for (const each of all) each();
  });
}

/** The value of a call that is done; throws the error of any other. */
export function orThrow<Value>(outcome: Outcome<Value>): Value {
  if (outcome.ok) return outcome.value;
  throw outcome.error;
}

const done = <Value>(value: Value): Outcome<Value> => ({ ok: true, status: 'done', value });

function isName(name: unknown): name is Name {
  return typeof name === 'string' ? name !== '' : Number.isSafeInteger(name);
}

function eventOf(event: string | SidestreamEvent, data: unknown, options: EventOptions = {}): EventOptions & Envelope {
  if (typeof event === 'object' && event !== null) return { ...event, ...options };
  // Without a name too, as plain JavaScript may: a `message` for browsers.
  return { ...options, event, data };
}
