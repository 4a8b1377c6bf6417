// What the compiler has to know and to refuse. Compiling this file is the test; running it checks nothing more.

import { test } from 'node:test';
import { expectTypeOf } from 'expect-type';
import {
  subscribe,
  type Connected,
  type Disconnect,
  type Presence,
  type Reset,
  type State,
  type StreamError,
  type StreamEvent,
  type Why,
} from '@sidestream/client';
import { tabs } from '@sidestream/client/tabs';
import { useEvent, usePresence, useSSE } from '@sidestream/client/react';
import { useSSE as useVue } from '@sidestream/client/vue';
import { sse } from '@sidestream/client/svelte';

interface Events {
  'message:new': { id: number; text: string };
  typing: { user: string };
}

test('types: events have the types of their map', () => {
  const never = () => {
    const events = subscribe<Events>('/events', {
      on: {
        'message:new': (data, event) => {
          expectTypeOf(data).toEqualTypeOf<{ id: number; text: string }>();
          expectTypeOf(event).toEqualTypeOf<StreamEvent<{ id: number; text: string }, 'message:new'>>();
        },
        '*': (data, { type }) => {
          expectTypeOf(data).toEqualTypeOf<Events[keyof Events]>();
          expectTypeOf(type).toEqualTypeOf<keyof Events>();
        },
        // @ts-expect-error no such event
        'message:old': () => {},
      },
      share: tabs('news'),
      token: async (why) => (expectTypeOf(why).toEqualTypeOf<Why>(), 'token'),
      headers: () => ({ 'x-a': '1' }),
      onConnect: (info) => expectTypeOf(info).toEqualTypeOf<Connected>(),
      onDisconnect: (why) => expectTypeOf(why).toEqualTypeOf<Disconnect>(),
      onReset: (reset) => expectTypeOf(reset).toEqualTypeOf<Reset>(),
      onError: (error) => {
        expectTypeOf(error).toEqualTypeOf<StreamError>();
        expectTypeOf(error).toExtend<Error>();
      },
      onPresence: (presence) => expectTypeOf(presence).toEqualTypeOf<Presence>(),
    });
    expectTypeOf(events.state).toEqualTypeOf<State>();
    expectTypeOf(events.topics.add).returns.toEqualTypeOf<Promise<void>>();
    expectTypeOf(events.renew).returns.toEqualTypeOf<Promise<void>>();
    expectTypeOf(events.unsubscribe).returns.toEqualTypeOf<void>();
    expectTypeOf(events.on('typing', ({ user }) => user)).toEqualTypeOf<() => void>();
    // @ts-expect-error no such event
    events.on('nothing', () => {});
    // @ts-expect-error it is read only
    events.state = 'open';
    // @ts-expect-error no such option
    subscribe('/events', { tokn: () => '' });
    // @ts-expect-error where is it
    subscribe();
    // Without a map anything goes.
    subscribe('/events', { on: { anything: ({ text }) => text } });
    subscribe(async () => new URL('https://push.example/events'));
  };
  void never;
});

test('types: hooks and composables have the same', () => {
  const never = () => {
    const { events, lastEvent, error, isConnected } = useSSE<Events>({
      url: '/events',
      on: { typing: ({ user }) => user },
    });
    expectTypeOf(isConnected).toEqualTypeOf<boolean>();
    expectTypeOf(error).toEqualTypeOf<StreamError | null>();
    expectTypeOf(events[0]!.type).toEqualTypeOf<keyof Events>();
    expectTypeOf(lastEvent).toEqualTypeOf<(typeof events)[0] | null>();
    expectTypeOf(useEvent<{ n: number }>('a')).toEqualTypeOf<StreamEvent<{ n: number }> | null>();
    expectTypeOf(usePresence('room').users).toEqualTypeOf<string[]>();
    expectTypeOf(useVue<Events>({ url: '/events' }).isConnected.value).toEqualTypeOf<boolean>();
    sse<Events>({ url: '/events' })
      .event('typing')
      .subscribe((event) => expectTypeOf(event).toEqualTypeOf<StreamEvent<{ user: string }, 'typing'> | null>());
    // @ts-expect-error no such event
    sse<Events>({ url: '/events' }).event('nothing');
  };
  void never;
});
