// The client as React hooks. Nothing is opened while rendering or on a server: only an effect does.

import {
  createContext,
  createElement,
  useCallback,
  useContext,
  useEffect,
  useInsertionEffect,
  useRef,
  useState,
  useSyncExternalStore,
  type ReactElement,
  type ReactNode,
} from 'react';
import {
  createStore,
  followPresence,
  identity,
  type PresenceOptions,
  type SSEOptions,
  type SSEState,
  type Store,
} from './store.js';
import type { EventMap, Handler, StreamEvent, Topics } from './types.js';

export type { PresenceOptions, SSEOptions, SSEState } from './store.js';

export interface SSE<E extends object = EventMap> extends SSEState<E> {
  connect(): void;
  disconnect(): void;
  clearEvents(): void;
  renew(): Promise<void>;
  topics: Topics;
}

const Shared = createContext<Store<any> | null>(null);

/** What was rendered last, for callbacks that outlive a rendering. */
function useLatest<T>(value: T): { readonly current: T } {
  const latest = useRef(value);
  // Before any effect, and not while rendering, which may be thrown away.
  useInsertionEffect(() => {
    latest.current = value;
  });
  return latest;
}

function useStore<E extends object>(options: SSEOptions<E>): Store<E> {
  const latest = useLatest(options);
  const [store] = useState(() => createStore<E>(() => latest.current));
  const { autoConnect = true } = options;
  const which = identity(options);
  useEffect(() => {
    if (autoConnect) store.connect();
    return store.disconnect;
  }, [store, autoConnect, which]);
  return store;
}

/**
 * A connection for as long as the component is there. Options and handlers may be written inline: a new rendering changes
 * what is called, and does not reconnect; a new `url` does. Without options: the connection of the `SSEProvider` around it.
 */
export function useSSE<E extends object = EventMap>(options?: SSEOptions<E>): SSE<E> {
  const around = useContext(Shared);
  const own = useStore<E>(options ?? {});
  const store = options ? own : (around as Store<E> | null);
  if (!store) throw new Error('useSSE() without options needs an <SSEProvider> around it');
  const state = useSyncExternalStore(store.watch, store.get, store.get);
  const { connect, disconnect, clearEvents, renew, topics } = store;
  return { ...state, connect, disconnect, clearEvents, renew, topics };
}

/** One connection for all components in it. */
export function SSEProvider<E extends object = EventMap>({
  children,
  ...options
}: SSEOptions<E> & { children?: ReactNode }): ReactElement {
  return createElement(Shared.Provider, { value: useStore(options as SSEOptions<E>) }, children);
}

function useShared(hook: string): Store<any> {
  const store = useContext(Shared);
  if (!store) throw new Error(`${hook} needs an <SSEProvider> around it`);
  return store;
}

/** The last event of this name, or null. */
export function useEvent<T = any>(name: string): StreamEvent<T> | null;
/** Calls `handler`, the one of the last rendering, and renders nothing. */
export function useEvent<T = any>(name: string, handler: Handler<T, string>): null;
export function useEvent(name: string, handler?: Handler<any, string>): StreamEvent | null {
  const store = useShared('useEvent');
  const latest = useLatest(handler);
  const [last, setLast] = useState<StreamEvent | null>(null);
  useEffect(
    () =>
      store.on(name, (data, event) => {
        if (latest.current) latest.current(data, event);
        else setLast(event);
      }),
    [store, name, latest],
  );
  return last?.type === name ? last : null;
}

export interface Online {
  users: string[];
  isOnline(user: string): boolean;
}

const nobody: ReadonlySet<string> = new Set();

/** Who is online, by the events of presence on `topic`, which is added to the stream if it is not there. */
export function usePresence(topic: string, { load }: PresenceOptions = {}): Online {
  const store = useShared('usePresence');
  const latest = useLatest(load);
  const [users, setUsers] = useState(nobody);
  useEffect(() => {
    setUsers(nobody);
    return followPresence(store, topic, () => latest.current, setUsers);
  }, [store, topic, latest]);
  const isOnline = useCallback((user: string) => users.has(user), [users]);
  return { users: [...users], isOnline };
}
