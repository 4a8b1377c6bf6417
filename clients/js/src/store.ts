// What the bindings of the frameworks share: a connection with a state that can be watched, and options that may change at
// each rendering without a new connection.

import { subscribe } from './subscribe.js';
import type {
  Connected,
  Disconnect,
  EventMap,
  Handler,
  LinkOptions,
  Options,
  Presence,
  State,
  StreamError,
  StreamEvent,
  Subscription,
  Topics,
} from './types.js';

export interface SSEOptions<E extends object = EventMap> extends Options<E> {
  /** Nothing is opened while there is none. A new text is a new connection; a function is asked at each try. */
  url?: LinkOptions['url'] | null | undefined;
  /** Connects by itself (the default). */
  autoConnect?: boolean | undefined;
  /** Milliseconds from which the waits grow: `backoff.base`. */
  reconnectInterval?: number | undefined;
  /** How many failures in a row end it; none do by default. */
  maxReconnectAttempts?: number | undefined;
  /** How many events are kept in `events` (100). */
  maxEvents?: number | undefined;
  onOpen?: ((info: Connected) => void) | undefined;
  onClose?: ((why: Disconnect) => void) | undefined;
  onMessage?: ((event: StreamEvent<E[keyof E], keyof E & string>) => void) | undefined;
}

export interface SSEState<E extends object = EventMap> {
  state: State;
  isConnected: boolean;
  /** A request is on its way, or comes by itself. */
  isConnecting: boolean;
  /** What failed last, until a connection stands. */
  error: StreamError | null;
  lastEvent: StreamEvent<E[keyof E], keyof E & string> | null;
  /** The newest of them, the last one at the end. */
  events: StreamEvent<E[keyof E], keyof E & string>[];
}

export interface Store<E extends object = EventMap> {
  /** The same object until something changes. */
  get(): SSEState<E>;
  watch(changed: () => void): () => void;
  connect(): void;
  disconnect(): void;
  clearEvents(): void;
  renew(): Promise<void>;
  topics: Topics;
  on<K extends keyof E & string>(type: K, handler: Handler<E[K], K>): () => void;
  /** Calls `refetch` when the stream opens, at once if it is open, and when something was missed. */
  onFresh(refetch: () => void): () => void;
  /** Keeps a topic on the stream, unless its URL brings it, until every caller has called what this returns. */
  hold(topic: string): () => void;
  onPresence(handler: (presence: Presence) => void): () => void;
}

const idle: SSEState<any> = {
  state: 'closed',
  isConnected: false,
  isConnecting: false,
  error: null,
  lastEvent: null,
  events: [],
};

/** What makes another connection of it. A function is no difference: it is asked at each try. */
export const identity = ({ url }: Pick<SSEOptions, 'url'>) =>
  typeof url === 'function' ? 'function' : (url ?? '').toString();

/** `latest` gives the options as they are now. Nothing is opened before `connect()`. */
export function createStore<E extends object>(latest: () => SSEOptions<E>): Store<E> {
  const watchers = new Set<() => void>();
  const handlers = new Map<string, Set<Handler<any, any>>>();
  const fresh = new Set<() => void>();
  const held = new Map<string, number>();
  /** What the open stream said of itself. */
  let info: Connected | undefined;
  const presences = new Set<(presence: Presence) => void>();
  let events: Subscription<any> | undefined;
  let now: SSEState<any> = idle;

  const become = (change: Partial<SSEState<any>>) => {
    now = { ...now, ...change };
    for (const changed of [...watchers]) changed();
  };
  const inState = (state: State) => {
    if (state !== 'open') info = undefined;
    become({ state, isConnected: state === 'open', isConnecting: state === 'connecting' || state === 'waiting' });
  };

  const disconnect = () => {
    const was = events;
    if (!was) return;
    const { state } = was;
    events = undefined;
    was.unsubscribe();
    inState('closed');
    if (state === 'open') latest().onClose?.({ reason: 'disconnected' });
  };

  const connect = () => {
    disconnect();
    const { url, token, resume, reconnectInterval, backoff, ...rest } = latest();
    if (!url) return;
    const ask = (value: any, ...of: unknown[]) => (typeof value === 'function' ? value(...of) : value);
    become({ error: null });
    events = subscribe<any>((why: unknown) => ask(latest().url, why), {
      ...rest,
      backoff: { base: reconnectInterval, ...backoff },
      resume: resume === true ? identity({ url }) : resume,
      token: token && ((why) => latest().token?.(why)),
      headers: (why) => ask(latest().headers, why),
      decode: (data, type) => {
        const { decode } = latest();
        return decode ? decode(data, type) : data;
      },
      on: {
        '*': (data, event) => {
          const { on, onMessage, maxEvents = 100 } = latest();
          become({ lastEvent: event, events: maxEvents > 0 ? [...now.events, event].slice(-maxEvents) : [] });
          for (const handler of [on?.[event.type as never], on?.['*'], ...(handlers.get(event.type) ?? [])] as any[])
            handler?.(data, event);
          onMessage?.(event as any);
        },
      },
      onConnect: (now) => {
        info = now;
        become({ error: null });
        latest().onConnect?.(now);
        latest().onOpen?.(now);
        for (const topic of held.keys()) lack(topic);
        for (const refetch of [...fresh]) refetch();
      },
      onDisconnect: (why) => {
        latest().onDisconnect?.(why);
        latest().onClose?.(why);
      },
      onReset: (reset) => {
        latest().onReset?.(reset);
        for (const refetch of [...fresh]) refetch();
      },
      onPresence: (presence) => {
        latest().onPresence?.(presence);
        for (const handler of [...presences]) handler(presence);
      },
      onState: (state) => {
        inState(state);
        latest().onState?.(state);
      },
      onError: (error) => {
        if (error.attempt > (latest().maxReconnectAttempts ?? Infinity)) {
          error.final = true;
          error.next = undefined;
          disconnect();
        }
        report(error);
      },
    });
    inState('connecting');
  };

  const report = (error: StreamError) => {
    become({ error });
    latest().onError?.(error);
  };
  /** Adds a held topic if the open stream lacks it. */
  const lack = (topic: string) => {
    if (info && !info.topics.includes(topic)) events?.topics.add(topic).catch(report);
  };
  const add = <T>(set: Set<T>, one: T) => {
    set.add(one);
    return () => void set.delete(one);
  };
  const change = async (does: 'add' | 'remove', names: string[]) => events?.topics[does](...names);
  return {
    get: () => now,
    watch: (changed) => add(watchers, changed),
    connect,
    disconnect,
    clearEvents: () => become({ lastEvent: null, events: [] }),
    renew: async () => events?.renew(),
    topics: { add: (...names) => change('add', names), remove: (...names) => change('remove', names) },
    on(type, handler) {
      const all = handlers.get(type) ?? new Set();
      handlers.set(type, all);
      return add(all, handler);
    },
    onFresh(refetch) {
      if (info) refetch();
      return add(fresh, refetch);
    },
    hold(topic) {
      const count = held.get(topic) ?? 0;
      held.set(topic, count + 1);
      if (!count) lack(topic);
      return () => {
        const left = held.get(topic)! - 1;
        if (left) return void held.set(topic, left);
        held.delete(topic);
        if (info && !info.topics.includes(topic)) events?.topics.remove(topic).catch(report);
      };
    },
    onPresence: (handler) => add(presences, handler),
  };
}

export interface PresenceOptions {
  /** Who is online: asked when the stream opens and when something was missed. */
  load?: ((topic: string) => Promise<Iterable<string>>) | undefined;
}

/**
 * Keeps the set of users who are online and tells each change. The topic is added to the stream where it does not have it
 * yet. The events of presence name no topic: all that the stream brings count.
 */
export function followPresence(
  store: Store<any>,
  topic: string,
  load: () => PresenceOptions['load'],
  changed: (users: ReadonlySet<string>) => void,
): () => void {
  let users = new Set<string>();
  /** What happened since the last question was asked; its answer may not know of it. */
  let since: Presence[] = [];
  let asked = 0;
  const apply = ({ user, online }: Presence) => users[online ? 'add' : 'delete'](user);
  const tell = () => changed((users = new Set(users)));
  const ask = async () => {
    const mine = ++asked;
    since = [];
    try {
      const all = await load()?.(topic);
      if (mine !== asked || !all) return;
      users = new Set(all);
      since.forEach(apply);
      tell();
    } catch {
      // What is known stays; the next opening asks again.
    }
  };
  const off = [
    store.hold(topic),
    store.onFresh(() => void ask()),
    store.onPresence((presence) => {
      since.push(presence);
      apply(presence);
      tell();
    }),
  ];
  return () => {
    asked = -1;
    for (const each of off) each();
  };
}
