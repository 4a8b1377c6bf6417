// From what a connection tells to the caller's handlers.

import { connect } from './connection.js';
import { follow } from './page.js';
import type { EventMap, LinkOptions, Options, PageEvent, Sink, State, Subscription } from './types.js';

/** A handler's fault is the page's, not the stream's: it is thrown where nothing of ours runs. */
const call = (handler: ((...values: any[]) => void) | undefined, ...values: unknown[]) => {
  try {
    handler?.(...values);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
};

/**
 * Opens the stream at `url` and keeps it open until `unsubscribe()`: comes back after a cut with the last id, asks for a
 * token at each try, notices a dead connection. The first request goes out after the caller's own code has run, so that
 * handlers can use what this returns.
 */
export function subscribe<E extends object = EventMap>(
  url: LinkOptions['url'],
  options: Options<E> = {},
): Subscription<E> {
  const { presence: [comes, goes] = ['user:online', 'user:offline'], decode, resume, signal } = options;
  const key = 'sidestream:' + (resume === true ? url : resume);
  // Where a page may not store anything, even looking throws.
  const stored = (id?: string) => {
    try {
      return resume && (id ? sessionStorage.setItem(key, id) : sessionStorage.getItem(key));
    } catch {
      return;
    }
  };
  const handlers: Record<string, Set<(...values: any[]) => void>> = Object.create(null);
  const ending = new AbortController();
  const { signal: over } = ending;

  /** Runs what an id stands for, and then keeps it: what the page has not seen it gets again. */
  const at = (id: string | undefined, does: () => void) => {
    if (over.aborted) return;
    self.lastEventId = id || self.lastEventId;
    call(does);
    if (id) stored(id);
  };
  const sink: Sink = {
    state: (state, reason, next, info, id) =>
      at(id, () => {
        const was = self.state;
        self.state = state;
        self.client = info?.client ?? '';
        if (info) call(options.onConnect, info);
        else if (was === 'open') call(options.onDisconnect, { reason, next });
        call(options.onState, state);
      }),
    event: (event) =>
      at(event.id, () => {
        const { type } = event;
        const data = decode ? decode(event.data, type) : event.data;
        for (const name of [type, '*'])
          for (const handler of handlers[name] ?? []) call(handler, data, { ...event, data, id: self.lastEventId });
        const online = type === comes;
        if (online || type === goes) call(options.onPresence, { ...data, online });
      }),
    reset: (reason, id) => at(id, () => call(options.onReset, { reason })),
    error: (error) => at('', () => call(options.onError, error)),
  };

  const on = (type: string, handler: any) => {
    (handlers[type] ??= new Set()).add(handler);
    return () => void handlers[type]!.delete(handler);
  };
  const unsubscribe = () => {
    ending.abort();
    link.pause('');
    self.state = 'closed';
    self.client = '';
  };
  const self = {
    state: 'connecting' as State,
    client: '',
    lastEventId: stored() || options.lastEventId || '',
    on,
    renew: async () => over.aborted || link.renew(),
    topics: {
      add: (...names: string[]) => link.topics(names, true),
      remove: (...names: string[]) => link.topics(names, false),
    },
    publish: (event: PageEvent) => link.publish(event),
    unsubscribe,
  };
  for (const name in options.on) on(name, options.on[name as never]);
  const link = (options.share?.(connect) ?? connect)({ ...options, url, lastEventId: self.lastEventId }, sink);
  signal?.addEventListener('abort', unsubscribe, { signal: over });
  queueMicrotask(() => {
    if (over.aborted || signal?.aborted) return;
    // A page that is hidden from the start opens one, too.
    link.resume();
    if (!over.aborted) follow(link, over, options.pauseHidden);
  });
  return self as unknown as Subscription<E>;
}
