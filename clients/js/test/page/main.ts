// What runs in the browsers: subscriptions by name, and what they told, for the test to ask about.

import { subscribe, type Subscription } from '@sidestream/client';
import { tabs } from '@sidestream/client/tabs';

const all = new Map<string, { events: Subscription; seen: Record<string, any[]> }>();

const door = {
  start(name: string, url: string, { share, ...options }: any = {}) {
    const seen: Record<string, any[]> = { data: [], infos: [], ends: [], errors: [], resets: [], states: [] };
    const events = subscribe(url, {
      backoff: { base: 1, max: 20 },
      on: { '*': (data: unknown) => seen['data']!.push(data) },
      onConnect: (info) => seen['infos']!.push(info),
      onDisconnect: (why) => seen['ends']!.push(why),
      onReset: (reset) => seen['resets']!.push(reset),
      onState: (state) => seen['states']!.push(state),
      onError: ({ kind, status, reason, final, message }) =>
        seen['errors']!.push({ kind, status, reason, final, message }),
      ...options,
      ...(options.token && { token: async (why: string) => (await fetch(`${options.token}?why=${why}`)).text() }),
      ...(share && { share: tabs(share) }),
    });
    all.set(name, { events, seen });
  },
  look(name = 'a') {
    const one = all.get(name);
    if (!one) return undefined;
    const { state, client, lastEventId } = one.events;
    return { ...one.seen, state, client, lastEventId };
  },
  do(name: string, what: string) {
    return new Function('events', `return ${what}`)(all.get(name)!.events);
  },
};
Object.assign(globalThis, { door });
export type Door = typeof door;
