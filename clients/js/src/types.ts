// The types of everything that crosses the door. No code: nothing here weighs anything in a bundle.

/** A value, or a function that is asked for it at each try. */
export type Ask<T> = T | ((why: Why) => T | Promise<T>);

/** Why a token, a URL or headers are asked for: to open a stream, because the running one's grant ends, because the last answer was 401. */
export type Why = 'connect' | 'expired' | 'refused';

/**
 * - `connecting`: a request is on its way
 * - `open`: events arrive
 * - `waiting`: the next try comes by itself
 * - `paused`: the page is hidden, frozen or in the back/forward cache
 * - `closed`: nothing comes by itself any more
 */
export type State = 'connecting' | 'open' | 'waiting' | 'paused' | 'closed';

/** What the server says of a stream when it opens. One of another server's streams says nothing: `client` is empty then. */
export interface Connected {
  /** The stream's own name, new for each connection. Publish with `"except": {"client": …}` to reach everybody else. */
  client: string;
  topics: string[];
  user?: string | null;
  session?: string | null;
  /** The stream goes on where the last one ended. */
  resumed?: boolean;
  /** How many events follow that were missed. */
  missed?: number;
  /** There are more of them than `missed` says. */
  more?: boolean;
}

export interface StreamEvent<T = any, N extends string = string> {
  /** The event's name; `message` for one without. */
  type: N;
  /** The data: JSON, or text where it is none. */
  data: T;
  /** As it came. */
  text: string;
  /** The id up to which everything has arrived. */
  id: string;
  /** When it was published, on streams with `sse.events = "typed"`. */
  timestamp?: string | number | undefined;
}

export interface Disconnect {
  /**
   * Why: a word of `closing` (`draining`, `kicked`, `sent_away`, `expired` …), the kind of the error, or what the
   * page did (`hidden`, `online`, `renew`, `unsubscribed`).
   */
  reason: string;
  /** Milliseconds until the next try; absent when none comes by itself. */
  next?: number | undefined;
}

export interface Reset {
  /** A word of the server's `reset` event; `topics` after own topics were asked for anew; `tabs` when no tab has what was missed. */
  reason: string;
}

export interface Presence {
  user: string;
  online: boolean;
  /** When the user's first stream opened, or the last one ended. */
  at: string;
}

export type ErrorKind =
  | 'network' // no answer, or a cut
  | 'timeout' // no answer in time
  | 'silent' // the watchdog: nothing has come for too long
  | 'ended' // the stream ended without a word
  | 'status' // an answer other than 200
  | 'content_type' // an answer that is no stream
  | 'refused' // the server asks to come back later
  | 'ask' // the token, url or headers callback failed
  | 'renew' // a new token was not accepted for the running stream
  | 'topics'; // topics were not accepted

export interface StreamError extends Error {
  kind: ErrorKind;
  /** The HTTP status, where there was an answer. */
  status?: number | undefined;
  /** The server's word for it, such as `topic_not_granted` or `limit_streams`. */
  reason?: string | undefined;
  /** How many tries in a row have failed. */
  attempt: number;
  /** Milliseconds until the next try; absent when none comes by itself. */
  next?: number | undefined;
  /** Nothing is tried again by itself: `renew()` does it. */
  final: boolean;
}

export interface LinkOptions {
  /** Where the stream is. A function is asked at each try: for a one-time ticket, say. */
  url: Ask<string | URL>;
  /** Sent as `Authorization: Bearer`. Asked at each try, when the server warns that the grant ends, and once more after a 401. */
  token?: ((why: Why) => string | null | undefined | Promise<string | null | undefined>) | undefined;
  headers?: Ask<HeadersInit | undefined> | undefined;
  /** As `fetch` has it. `"include"` sends cookies to another origin, like `withCredentials` of EventSource. */
  credentials?: RequestCredentials | undefined;
  fetch?: typeof fetch | undefined;
  /** Begins behind this id. */
  lastEventId?: string | undefined;
  /** Milliseconds: a failed try waits up to `base` (1,000) × 2ⁿ, at most `max` (30,000), drawn at random, on top of the server's `retry`. */
  backoff?: { base?: number | undefined; max?: number | undefined } | undefined;
  /** Milliseconds for an answer to begin (20,000). */
  timeout?: number | undefined;
  /** Milliseconds of silence after which an open stream is taken for dead (60,000): at least twice the server's heartbeat. 0 = never. */
  silence?: number | undefined;
}

/** Where a connection reports to. `id` is there if the block had one. */
export interface Sink {
  /** `info` is there when the state is `open`. */
  state(state: State, reason?: string, next?: number, info?: Connected, id?: string): void;
  event(event: Omit<StreamEvent, 'id'> & { id?: string | undefined }): void;
  reset(reason: string, id?: string): void;
  error(error: StreamError): void;
}

export interface Topics {
  /** Resolves when the server has made the change; at once while there is no connection, as the next one begins with it. */
  add(...topics: string[]): Promise<void>;
  remove(...topics: string[]): Promise<void>;
}

/** What a page publishes. */
export interface PageEvent {
  topic: string;
  /** One of the route's `page_publish`. */
  event: string;
  data?: unknown;
}

/** One connection, or this tab's part of a shared one. */
export interface Link {
  /** Starts, or goes on after a pause. */
  resume(): void;
  pause(reason: string): void;
  /** Now is a good moment to try. `fresh`: what is open may be dead. */
  wake(fresh: boolean): void;
  renew(): Promise<void>;
  topics(names: string[], on: boolean): Promise<void>;
  publish(event: PageEvent): Promise<unknown>;
}

export type Connect = (options: LinkOptions, sink: Sink) => Link;

export type Handler<T, N extends string = string> = (data: T, event: StreamEvent<T, N>) => void;

/** Any map of names to the types of their data. */
export type EventMap = Record<string, any>;

export type Handlers<E extends object = EventMap> = {
  [K in keyof E & string]?: Handler<E[K], K>;
} & {
  /** Every event. */
  '*'?: Handler<E[keyof E], keyof E & string>;
};

export interface Options<E extends object = EventMap> extends Omit<LinkOptions, 'url'> {
  on?: Handlers<E> | undefined;
  /** What becomes of an event's data, which is JSON, or text where it is none: a place to check it, or to make dates of texts. */
  decode?: ((data: any, type: string) => unknown) | undefined;
  /** Keeps the last id in `sessionStorage`, so that a reload goes on where the page was: under the URL, or under this name. */
  resume?: boolean | string | undefined;
  /** Pauses when the page has been hidden for so many milliseconds. Off by default. */
  pauseHidden?: number | undefined;
  /** One connection for all tabs: `tabs('name')` of `@sidestream/client/tabs`. */
  share?: ((connect: Connect) => Connect) | undefined;
  /** The events that say who comes and goes: by default `user:online` and `user:offline`. */
  presence?: [online: string, offline: string] | undefined;
  /** Unsubscribes. */
  signal?: AbortSignal | undefined;
  onConnect?: ((info: Connected) => void) | undefined;
  onDisconnect?: ((why: Disconnect) => void) | undefined;
  /** Something was missed that cannot be replayed: refetch now. */
  onReset?: ((reset: Reset) => void) | undefined;
  onError?: ((error: StreamError) => void) | undefined;
  onPresence?: ((presence: Presence) => void) | undefined;
  onState?: ((state: State) => void) | undefined;
}

export interface Subscription<E extends object = EventMap> {
  readonly state: State;
  /** The stream's own name, empty while there is none. */
  readonly client: string;
  /** The id up to which everything has arrived. */
  readonly lastEventId: string;
  /** Adds a handler and returns what takes it away. */
  on<K extends keyof Handlers<E> & string>(type: K, handler: NonNullable<Handlers<E>[K]>): () => void;
  /** Asks for a new token and presents it for the running stream; opens one if there is none, after a final error too. */
  renew(): Promise<void>;
  /** Topics of this stream's own, asked for again after each reconnect. The route needs `change_topics = true`. */
  readonly topics: Topics;
  /**
   * Publishes to everybody else on a topic: what others get is `{ user, data }`. It is sent once, and not at all while there
   * is no stream. The route needs `page_publish`, and the token has to grant it.
   */
  publish(event: PageEvent): Promise<unknown>;
  /** Ends it for good. No handler is called any more, no timer is left. */
  unsubscribe(): void;
}
