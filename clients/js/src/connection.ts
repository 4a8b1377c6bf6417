// One connection that lives: opens, reads, notices that it is dead, comes back with its last id. Knows nothing of
// handlers, tabs or the page's visibility; says everything to a `Sink`.

import { json, parser } from './parse.js';
import type { Connect, Connected, ErrorKind, Sink, State, StreamError, Why } from './types.js';

interface Failure {
  kind: ErrorKind;
  status?: number;
  reason?: string;
  cause?: unknown;
  final?: boolean;
  /** Milliseconds that the server asks for. */
  hold?: number;
}

export const connect: Connect = (options, sink) => {
  const { backoff: { base = 1_000, max = 30_000 } = {}, timeout = 20_000, silence = 60_000 } = options;
  /** Own topics: whether each is to be on the stream, or off it. */
  const own = new Map<string, boolean>();
  let state: State = 'paused';
  /** The try, or the stream that came of it. Whatever belongs to another one is passed over. */
  let current: AbortController | undefined;
  /** What fails when the try fails now. */
  let doing: ErrorKind;
  /** Of the wait, or the watchdog: there is never more than this one. */
  let timer: ReturnType<typeof setTimeout> | undefined;
  let lastId = options.lastEventId;
  let client = '';
  let failures = 0;
  let retry = 0;
  /** Until then a wake-up does not shorten the wait: the server asked for it. */
  let hold = 0;
  let alive: number;
  let why: Why = 'connect';

  const set: Sink['state'] = (...told) => {
    state = told[0];
    sink.state(...told);
  };

  const halt = () => {
    clearTimeout(timer);
    current?.abort();
    current = undefined;
    client = '';
  };

  const fault = ({ hold: _, cause, ...rest }: Failure, next?: number): StreamError =>
    Object.assign(Error(`${rest.kind}: ${rest.reason ?? (cause as any)?.message ?? rest.status ?? ''}`, { cause }), {
      final: false,
      ...rest,
      attempt: failures,
      next,
    });

  const report = (kind: ErrorKind) => {
    const mine = current;
    return (cause: any) => {
      if (current === mine) sink.error(fault({ ...cause, kind, cause }));
    };
  };

  /** Without a `body`: opens a stream. With one, empty or not: says something about the one that is open. */
  const send = async (reason: Why, body?: string) => {
    const { signal } = current!;
    const ask = (value: any) => (typeof value === 'function' ? value(reason) : value);
    const name = client;
    const url = new URL(await ask(options.url), globalThis.location?.href);
    const headers = new Headers(await ask(options.headers));
    const token = await ask(options.token);
    if (token) headers.set('authorization', 'Bearer ' + token);
    if (body === undefined) {
      headers.set('accept', 'text/event-stream');
      // Its UTF-8, as a header holds bytes.
      if (lastId) headers.set('last-event-id', unescape(encodeURIComponent(lastId)));
    } else url.searchParams.set('client', name);
    doing = 'network';
    return (options.fetch ?? fetch)(url.href, {
      method: body === undefined ? 'GET' : 'POST',
      headers,
      signal,
      // An empty text would count as a change of topics.
      body: body || null,
      credentials: options.credentials!,
      cache: 'no-store',
    });
  };

  const refusal = async (response: Response): Promise<Failure> => {
    const { status, headers } = response;
    const said = Object(json(await response.text()));
    const after: any = headers.get('retry-after');
    return {
      kind: 'status',
      status,
      reason: said.reason ?? said.error,
      // Seconds. A date, which is rare, counts as none.
      hold: after * 1_000 || 0,
    };
  };

  const tell = async (reason: Why, body: string) => {
    const response = await send(reason, body);
    if (!response.ok) throw fault(await refusal(response));
  };

  const say = (body: object) => tell('connect', JSON.stringify(body));

  const change = async (names: string[]) => {
    // Without a connection the next one begins with them.
    if (!client) return;
    const those = (on: boolean) => names.filter((name) => own.get(name) === on);
    try {
      await say({ add: those(true), remove: those(false) });
    } catch (error: any) {
      // What is refused is not asked for again and again.
      if (error.status) names.map((name) => own.delete(name));
      throw error;
    }
  };

  const renew = async () => {
    try {
      if (client) return await tell('expired', '');
    } catch (error: any) {
      // Anything but: nobody knows the stream any more.
      if (error.status !== 404) throw error;
    }
    why = 'connect';
    open('renew');
  };

  const open = async (reason?: string) => {
    halt();
    const mine = (current = new AbortController());
    const over = () => current !== mine;
    let opened = NaN;
    let typed: unknown;
    set('connecting', reason);
    if (over()) return;

    /** The one way out of a try that was not called off. */
    const end = (reason: string, failure?: Failure) => {
      if (over()) return;
      halt();
      // A stream that lasted so long has not failed: the next wait starts from the bottom.
      failures = !failure || Date.now() - opened > 5_000 ? 0 : failures + 1;
      const { final, hold: asked = 0 } = failure ?? {};
      let next: number | undefined;
      if (!final) {
        next = Math.max(retry, asked) + Math.random() * Math.min(max, base * 2 ** failures);
        // The longest that a timer can wait; beyond it would fire at once.
        next = Math.min(next, 2 ** 31 - 1) | 0;
        hold = asked && Date.now() + next;
        timer = setTimeout(open, next);
      }
      set(final ? 'closed' : 'waiting', reason, next);
      // To be sent away is an order, not an error.
      if (failure && failure.status !== 204) sink.error(fault(failure, next));
    };
    const fail = (kind: ErrorKind, more?: Omit<Failure, 'kind'>) => end(more?.reason ?? kind, { ...more, kind });
    const sentAway = (reason = 'sent_away') => fail('status', { status: 204, reason, final: true });
    const watch = (ms: number, kind: ErrorKind) => {
      clearTimeout(timer);
      alive = Date.now();
      if (ms) timer = setTimeout(fail, ms, kind);
    };
    const begin = (info: Partial<Connected>, id?: string) => {
      opened = Date.now();
      why = 'connect';
      client = info.client ?? '';
      set('open', '', 0, { client, topics: [], ...info }, id);
      if (!client || !own.size) return;
      change([...own.keys()]).then(() => {
        // What was published on them while there was no stream is in no replay.
        if (info.resumed && !over()) sink.reset('topics');
      }, report('topics'));
    };

    const block = (type: string, text: string | undefined, id: string | undefined) => {
      if (over()) return;
      lastId = id ?? lastId;
      if (text === undefined) return;
      let data = json(text);
      let said = Object(data);
      let timestamp;
      // The first block says what kind of stream it is.
      if (!opened && said.timestamp) typed = said.type === 'refused' || said.data?.client;
      if (typed) {
        ({ type, data, timestamp } = said);
        said = Object(data);
      }
      if (!opened) {
        if (type === 'refused') return fail(type, { reason: said.reason, hold: 1 });
        const ours = said.client && said.topics;
        begin(ours ? said : {}, id);
        if (ours || over()) return;
      }
      // Words of the stream's own, where it is one that has them.
      if (client) {
        if (type === 'reset') return sink.reset(said.reason, id);
        if (type === 'token_expired') return void renew().catch(report('renew'));
        if (type === 'closing') return said.reconnect === false ? sentAway(said.reason) : end(said.reason);
      }
      sink.event({ type, data, text, id, timestamp });
    };

    watch(timeout, 'timeout');
    doing = 'ask';
    try {
      const response = await send(why);
      if (over()) return;
      const { status } = response;
      if (status === 204) return sentAway();
      if (status !== 200) {
        const failure = await refusal(response);
        // The token may just be an old one: once more, at once, with a new one.
        if (status === 401 && options.token && why !== 'refused' && !over()) {
          why = 'refused';
          return void open();
        }
        return fail('status', { ...failure, // What asking again would only repeat. The rest passes.
        final: /^4(?!08|21|25|29)/.test(status as any) });
      }
      if (!/^text\/event-stream/.test(response.headers.get('content-type')!)) return fail('content_type', { status });
      const read = parser(block, (time) => {
        if (time !== undefined) retry = time;
        else if (!opened && !over()) begin({});
      });
      const reader = response.body!.getReader();
      watch(silence, 'silent');
      for (;;) {
        const { done, value } = await reader.read();
        if (over()) return;
        if (done) return fail('ended');
        watch(silence, 'silent');
        read(value);
      }
    } catch (cause) {
      fail(doing, { cause });
    }
  };

  return {
    resume() {
      if (state === 'paused') open();
    },
    pause(reason) {
      if (current || state === 'waiting') {
        halt();
        set('paused', reason);
      }
    },
    wake(fresh) {
      const now = Date.now();
      if (current ? fresh || (silence && now - alive > silence) : state === 'waiting' && now >= hold) open('online');
    },
    renew,
    topics(names, on) {
      for (const name of names) own.set(name, on);
      return change(names);
    },
    publish: async (publish) => client && say({ publish }),
  };
};
