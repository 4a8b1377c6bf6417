// The client as Vue composables. Nothing is opened on a server: in a component only its mounting does.

import {
  computed,
  getCurrentInstance,
  getCurrentScope,
  inject,
  onMounted,
  onScopeDispose,
  provide,
  shallowRef,
  toValue,
  watch,
  type ComputedRef,
  type InjectionKey,
  type MaybeRefOrGetter,
  type ShallowRef,
} from 'vue';
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

export type SSE<E extends object = EventMap> = { [K in keyof SSEState<E>]: ComputedRef<SSEState<E>[K]> } & {
  connect(): void;
  disconnect(): void;
  clearEvents(): void;
  renew(): Promise<void>;
  topics: Topics;
};

const shared: InjectionKey<Store<any>> = Symbol('sidestream');

const dispose = (stop: () => void) => getCurrentScope() && onScopeDispose(stop);

function useStore<E extends object>(options: MaybeRefOrGetter<SSEOptions<E>>): Store<E> {
  const latest = () => toValue(options);
  const store = createStore<E>(latest);
  const begin = () => {
    watch(
      [() => identity(latest()), () => latest().autoConnect ?? true],
      ([, autoConnect]) => (autoConnect ? store.connect() : store.disconnect()),
      { immediate: true },
    );
  };
  if (getCurrentInstance()) onMounted(begin);
  else begin();
  dispose(store.disconnect);
  return store;
}

function refs<E extends object>(store: Store<E>): SSE<E> {
  const state = shallowRef(store.get());
  dispose(store.watch(() => (state.value = store.get())));
  const { connect, disconnect, clearEvents, renew, topics } = store;
  const of = <K extends keyof SSEState<E>>(name: K) => computed(() => state.value[name]);
  return {
    state: of('state'),
    isConnected: of('isConnected'),
    isConnecting: of('isConnecting'),
    error: of('error'),
    lastEvent: of('lastEvent'),
    events: of('events'),
    connect,
    disconnect,
    clearEvents,
    renew,
    topics,
  };
}

/** A connection for as long as the scope is there. A new `url`, by a ref or getter of the options, is a new connection. */
export function useSSE<E extends object = EventMap>(options: MaybeRefOrGetter<SSEOptions<E>>): SSE<E> {
  return refs(useStore(options));
}

/** The same, shared with the components within. */
export function provideSSE<E extends object = EventMap>(options: MaybeRefOrGetter<SSEOptions<E>>): SSE<E> {
  const store = useStore(options);
  provide(shared, store);
  return refs(store);
}

function useShared(composable: string): Store<any> {
  const store = inject(shared, null);
  if (!store) throw new Error(`${composable} needs provideSSE() in a component around it`);
  return store;
}

/** The last event of this name, or null; `handler` is called for each. */
export function useEvent<T = any>(name: string, handler?: Handler<T, string>): ShallowRef<StreamEvent<T> | null> {
  const last = shallowRef<StreamEvent<T> | null>(null);
  dispose(
    useShared('useEvent').on(name, (data: T, event: StreamEvent<T>) => {
      last.value = event;
      handler?.(data, event);
    }),
  );
  return last;
}

/** Who is online, by the events of presence on `topic`, which is added to the stream if it is not there. */
export function usePresence(
  topic: string,
  { load }: PresenceOptions = {},
): { users: ComputedRef<string[]>; isOnline(user: string): boolean } {
  const online = shallowRef<ReadonlySet<string>>(new Set());
  dispose(
    followPresence(
      useShared('usePresence'),
      topic,
      () => load,
      (users) => (online.value = users),
    ),
  );
  return { users: computed(() => [...online.value]), isOnline: (user) => online.value.has(user) };
}
