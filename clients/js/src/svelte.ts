// The client as Svelte stores: connected while somebody is subscribed, never on a server.

import { readable, type Readable } from 'svelte/store';
import {
  createStore,
  followPresence,
  type PresenceOptions,
  type SSEOptions,
  type SSEState,
  type Store,
} from './store.js';
import type { EventMap, Handler, StreamEvent, Topics } from './types.js';

export type { PresenceOptions, SSEOptions, SSEState } from './store.js';

export interface SSE<E extends object = EventMap> extends Readable<SSEState<E>> {
  connect(): void;
  disconnect(): void;
  clearEvents(): void;
  renew(): Promise<void>;
  topics: Topics;
  /** A store of the last event of this name; `handler` is called for each while the store is subscribed to. */
  event<K extends keyof E & string>(name: K, handler?: Handler<E[K], K>): Readable<StreamEvent<E[K], K> | null>;
  /** A store of the users who are online, by the events of presence on `topic`. */
  presence(topic: string, options?: PresenceOptions): Readable<ReadonlySet<string>>;
}

/** `options` may be a function, which is asked at each connection for what may have changed. */
export function sse<E extends object = EventMap>(options: SSEOptions<E> | (() => SSEOptions<E>)): SSE<E> {
  const latest = typeof options === 'function' ? options : () => options;
  const store: Store<E> = createStore(latest);
  let users = 0;
  /** Keeps the connection for as long as what it returns is not called. */
  const hold = () => {
    users += 1;
    if (users === 1 && (latest().autoConnect ?? true) && 'document' in globalThis) store.connect();
    return () => {
      users -= 1;
      if (!users) store.disconnect();
    };
  };
  const held = <T>(first: () => T, start: (set: (value: T) => void) => () => void): Readable<T> =>
    readable(first(), (set) => {
      set(first());
      const stop = start(set);
      const release = hold();
      return () => {
        stop();
        release();
      };
    });

  const { connect, disconnect, clearEvents, renew, topics } = store;
  return {
    ...held<SSEState<E>>(store.get, (set) => store.watch(() => set(store.get()))),
    connect,
    disconnect,
    clearEvents,
    renew,
    topics,
    event: (name, handler) =>
      held<StreamEvent<any, any> | null>(
        () => null,
        (set) =>
          store.on(name, (data, event) => {
            set(event);
            handler?.(data, event);
          }),
      ),
    presence: (topic, { load } = {}) =>
      held<ReadonlySet<string>>(
        () => new Set(),
        (set) => followPresence(store, topic, () => load, set),
      ),
  };
}
