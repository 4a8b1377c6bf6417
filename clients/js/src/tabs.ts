// One connection for all tabs of an origin. One of them, the leader, holds a Web Lock and the connection; the others hear
// from it over a BroadcastChannel what the connection tells. A tab that goes away in any way lets go of the lock, and the
// next one goes on behind the last id that it has. Every tab keeps what came lately, so that each can tell any other.

import type { Connect, Link, PageEvent, Sink, State } from './types.js';

/** What a tab keeps: so many items, and so many characters of their data. */
const KEPT = 1_000;
const KEPT_TEXT = 1 << 20;
/** A leader that does not answer for so long is taken for frozen. */
const PATIENCE = 3_000;
/** After so long without a word from the leader it is asked whether it is there. */
const QUIET = 10_000;
/** How long a leader that knows no id waits for a tab that does. */
const GATHERING = 100;

/** One call of a sink. `prev` is the id before it, where it has an id. */
interface Item {
  call: keyof Sink;
  args: any[];
  id?: string | undefined;
  prev: string;
}

type Message =
  | { kind: 'lead' }
  | { kind: 'hello'; at: string; topics: string[] }
  | { kind: 'welcome'; turn: number; state: any[] | undefined; items: Item[]; whole: boolean; at: string }
  | { kind: 'told'; turn: number; item: Item }
  | { kind: 'bye' }
  | { kind: 'wake' }
  | { kind: 'ask'; number: number; does: 'renew' | 'topics' | 'publish'; args: any[] }
  | { kind: 'did'; number: number; error?: any };

/** Whether `a` comes after `b`; undefined where the two cannot be compared. Ids of one log grow. */
function later(a: string, b: string): boolean | undefined {
  const [x, y] = [a, b].map((id) => /^(\d+)-(\d+)(-\w+)?$/.exec(id));
  if (!x || !y || x[3] !== y[3]) return undefined;
  return +x[1]! - +y[1]! > 0 || (x[1] === y[1] && +x[2]! > +y[2]!);
}

/** An error as it can be posted, without its cause. */
const plain = ({ message, cause: _, ...rest }: any) => ({ message, ...rest });
const revived = ({ message, ...rest }: any) => Object.assign(new Error(message), rest);

/**
 * For `subscribe(url, { share: tabs('name') })`: all tabs that share the name share one connection. Put into it what makes
 * the stream another one, such as the user's id. Without Web Locks (pages that are not secure, Node) each has its own.
 */
export const tabs =
  (name: string) =>
  (connect: Connect): Connect =>
  (options, page) => {
    const locks = globalThis.navigator?.locks as LockManager | undefined;
    if (!locks || !globalThis.BroadcastChannel) return connect(options, page);

    const key = 'sidestream:' + name;
    const me = crypto.randomUUID();
    /** This tab's own topics, and at the leader those of each tab. */
    const own = new Set<string>();
    const topics = new Map<string, Set<string>>();
    const kept: Item[] = [];
    let text = 0;
    let cursor = options.lastEventId ?? '';
    let channel: BroadcastChannel | undefined;
    let standing: AbortController | undefined;
    let resign: (() => void) | undefined;
    /** Whose word counts: empty when unknown. */
    let leader = '';
    let link: Link | undefined;
    /** How many states the leader has been in, and which of them this tab knows. */
    let turn = 0;
    let known = '';
    let last: any[] | undefined;
    /** All that the leader tells from here on follows what this tab has. */
    let welcome = false;
    let heard = 0;
    let patience: ReturnType<typeof setTimeout> | undefined;
    let nudge: ReturnType<typeof setTimeout> | undefined;
    let check: ReturnType<typeof setInterval> | undefined;
    let calls = 0;
    const waiting = new Map<number, { resolve(): void; reject(error: unknown): void }>();

    let state: State = 'paused';
    const sink: Sink = {
      ...page,
      state(...told) {
        // Leaders come and go while one connects: it is said once.
        if (told[0] === 'connecting' && state === 'connecting') return;
        state = told[0];
        page.state(...told);
      },
    };
    /** The connection goes over to another tab. One that was closed for good stays so. */
    const handover = () => state !== 'closed' && sink.state('connecting', 'handover');

    const post = (message: Message, to?: string) => channel?.postMessage({ ...message, from: me, to });

    const deliver = (item: Item, quiet = false) => {
      const { call, args, id } = item;
      if (id !== undefined) {
        cursor = id;
        kept.push(item);
        text += args[0]?.text?.length ?? 0;
        while (kept.length > KEPT || text > KEPT_TEXT) text -= kept.shift()!.args[0]?.text?.length ?? 0;
      }
      if (quiet) return;
      if (call === 'error') sink.error(revived(args[0]));
      else (sink[call] as (...args: any[]) => void)(...args);
    };
    const has = (id: string) => kept.some((item) => item.id === id) || later(id, cursor) === false;

    /** What the leader tells. False when something before it is missing here. */
    const place = (item: Item): boolean => {
      const { call, args, id, prev } = item;
      if (id === undefined || prev === cursor) deliver(item);
      else if (has(id)) {
        if (call === 'state') sink.state(...(args.slice(0, 4) as Parameters<Sink['state']>));
      } else if (later(prev, cursor) === false) deliver(item);
      else return false;
      return true;
    };

    const answered = () => {
      clearTimeout(patience);
      patience = undefined;
    };

    const settle = () => {
      for (const { resolve } of waiting.values()) resolve();
      waiting.clear();
    };

    /** Asks the leader for what came behind this tab's last id. */
    const hello = (still = welcome) => {
      if (leader === me) return;
      welcome = still;
      post({ kind: 'hello', at: cursor, topics: [...own] });
      // What has been asked before is waited for no longer than that.
      patience ??= setTimeout(() => {
        answered();
        stand(true);
      }, PATIENCE);
    };

    /** What a tab that has everything up to `at` lacks; undefined when that is not known. */
    const behind = (at: string): Item[] | undefined => {
      if (!at || at === cursor || later(cursor, at) === false) return [];
      const next = kept.findIndex((item) => item.prev === at);
      if (next >= 0) return kept.slice(next);
      const first = kept[0];
      if (!first || later(first.prev || first.id!, at) !== false) return undefined;
      return kept.filter((item) => later(item.id!, at));
    };

    const want = async (from: string, names: string[], on: boolean) => {
      const changed = names.filter((name) => {
        const of = topics.get(name) ?? new Set();
        topics.set(name, of);
        const before = of.size;
        of[on ? 'add' : 'delete'](from);
        if (!of.size) topics.delete(name);
        return on ? !before : !of.size;
      });
      try {
        if (changed.length) await link?.topics(changed, on);
      } catch (error: any) {
        if (error.status) for (const name of changed) topics.delete(name);
        throw error;
      }
    };

    const does = {
      renew: async () => link?.renew(),
      topics: (from: string, names: string[], on: boolean) => want(from, names, on),
      publish: async (_: string, event: PageEvent) => void (await link?.publish(event)),
    };

    const lead = async () => {
      const mine = standing;
      answered();
      clearTimeout(nudge);
      leader = me;
      welcome = true;
      topics.clear();
      post({ kind: 'lead' });
      handover();
      settle();
      // A tab that has only just come knows no id; one that waits as well may.
      if (!cursor) {
        const { pending = [] } = await locks.query();
        if (pending.some((lock) => lock.name === key)) await new Promise((resolve) => setTimeout(resolve, GATHERING));
        if (standing !== mine) return;
      }
      const tell =
        (call: keyof Sink) =>
        (...args: any[]) => {
          if (standing !== mine || !link) return;
          const id = { state: args[4], event: args[0].id, reset: args[1], error: undefined }[call];
          const item: Item = { call, args: call === 'error' ? [plain(args[0])] : args, id, prev: cursor };
          if (call === 'state') {
            turn += 1;
            last = args.slice(0, 4);
          }
          post({ kind: 'told', turn, item });
          if (call === 'error') sink.error(args[0]);
          else deliver(item);
        };
      link = connect(
        { ...options, lastEventId: cursor },
        { state: tell('state'), event: tell('event'), reset: tell('reset'), error: tell('error') },
      );
      for (const name of own) topics.set(name, (topics.get(name) ?? new Set()).add(me));
      void link.topics([...topics.keys()], true);
      if (state !== 'closed') link.resume();
    };

    const stop = () => {
      const was = link;
      link = undefined;
      last = undefined;
      was?.pause('');
    };

    /** Wants to lead: when it is this tab's turn, or at once where the leader does not answer. */
    const stand = (steal: boolean) => {
      standing?.abort();
      const mine = (standing = new AbortController());
      const granted = () =>
        new Promise<void>((release) => {
          if (standing !== mine) return release();
          resign = release;
          void lead();
        });
      locks.request(key, steal ? { steal } : { signal: mine.signal }, granted).catch(() => {
        // Another tab took it, as this one did not answer.
        if (standing === mine) depose();
      });
    };

    const depose = () => {
      stop();
      leader = '';
      handover();
      stand(false);
      hello(false);
    };

    const hear = ({ from, to, ...message }: Message & { from: string; to?: string }) => {
      if (to && to !== me) return;
      if (from === leader) heard = Date.now();
      const leads = leader === me;
      if (message.kind === 'lead') {
        if (leads) return depose();
        answered();
        leader = from;
        known = '';
        clearTimeout(nudge);
        settle();
        handover();
        hello(false);
      } else if (message.kind === 'hello' && leads) {
        if (!link && !cursor) cursor = message.at;
        void want(from, message.topics, true).catch(() => {});
        const items = behind(message.at);
        post({ kind: 'welcome', turn, state: last, items: items ?? [], whole: !!items, at: cursor }, from);
      } else if (message.kind === 'welcome' && !leads) {
        answered();
        leader = from;
        heard = Date.now();
        const fresh = !cursor;
        if (!welcome) {
          welcome = true;
          for (const item of message.items) if (!has(item.id!)) deliver(item, item.call === 'state');
          if (fresh) cursor = message.at;
          else if (!message.whole && !has(message.at)) {
            cursor = message.at;
            sink.reset('tabs', cursor);
          }
        }
        become(message.turn, message.state, fresh ? cursor : undefined);
      } else if (message.kind === 'told' && from === leader && welcome) {
        if (!place(message.item)) hello(false);
        else if (message.item.call === 'state') {
          known = leader + message.turn;
          nudgeAfter(message.item.args);
        }
      } else if (message.kind === 'bye') {
        if (leads) for (const [name, of] of topics) if (of.has(from)) void want(from, [name], false).catch(() => {});
        if (from === leader) leader = '';
      } else if (message.kind === 'wake' && leads) link?.wake(false);
      else if (message.kind === 'ask' && leads) {
        const { number } = message;
        (does[message.does] as (...args: any[]) => Promise<void>)(from, ...message.args).then(
          () => post({ kind: 'did', number }, from),
          (error) => post({ kind: 'did', number, error: plain(error) }, from),
        );
      } else if (message.kind === 'did') {
        const call = waiting.get(message.number);
        waiting.delete(message.number);
        if (message.error) call?.reject(revived(message.error));
        else call?.resolve();
      }
    };

    const become = (now: number, told: any[] | undefined, id: string | undefined) => {
      if (!told || known === leader + now) return;
      known = leader + now;
      const [to, reason, next, info] = told;
      sink.state(to, reason, next, info, id);
      nudgeAfter(told);
    };

    /** A hidden leader's timers may run late: a tab that sees the wait end says so. */
    const nudgeAfter = ([to, , next]: any[]) => {
      clearTimeout(nudge);
      if (to === 'waiting') nudge = setTimeout(() => post({ kind: 'wake' }), next + 500);
    };

    const ask = (does: 'renew' | 'topics' | 'publish', ...args: any[]): Promise<void> => {
      const number = ++calls;
      post({ kind: 'ask', number, does, args });
      return new Promise((resolve, reject) => waiting.set(number, { resolve, reject }));
    };

    return {
      resume() {
        if (channel) return;
        channel = new BroadcastChannel(key);
        channel.onmessage = ({ data }) => hear(data);
        leader = known = '';
        welcome = false;
        check = setInterval(() => {
          if (leader !== me && Date.now() - heard > QUIET) hello();
        }, QUIET);
        sink.state('connecting');
        stand(false);
        hello();
      },
      pause(reason) {
        if (!channel) return;
        const controller = standing;
        standing = undefined;
        stop();
        post({ kind: 'bye' });
        channel.close();
        channel = undefined;
        leader = '';
        answered();
        for (const timer of [nudge, check]) clearTimeout(timer);
        controller?.abort();
        resign?.();
        resign = undefined;
        settle();
        sink.state('paused', reason);
      },
      wake(fresh) {
        if (leader === me) link?.wake(fresh);
        else if (channel && !fresh) {
          // The leader hears itself that the network is back.
          post({ kind: 'wake' });
          hello();
        }
      },
      async renew() {
        if (leader === me) await link?.renew();
        else if (leader) await ask('renew');
      },
      async publish(event) {
        await (leader && leader !== me ? ask('publish', event) : link?.publish(event));
      },
      async topics(names, on) {
        for (const name of names) own[on ? 'add' : 'delete'](name);
        try {
          if (leader === me) await want(me, names, on);
          // Who has no leader yet tells the first one.
          else if (leader) await ask('topics', names, on);
        } catch (error: any) {
          if (error.status) for (const name of names) own.delete(name);
          throw error;
        }
      },
    };
  };
