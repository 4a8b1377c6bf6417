import type { SidestreamError } from './errors.js';

/** A user, session, client or topic: 1 to 256 bytes. A whole number stands for its decimal text. */
export type Name = string | number;

/** At least one of them; they add up. */
export interface Audience {
  topic?: Name;
  topics?: readonly Name[];
  user?: Name;
  users?: readonly Name[];
  session?: Name;
  sessions?: readonly Name[];
  client?: Name;
  clients?: readonly Name[];
}

export interface EventOptions {
  /** Not for these. */
  except?: Audience;
  /** Delivered live, without an id, and never replayed. */
  ephemeral?: boolean;
  /** Seconds after which it is not replayed any more. */
  ttl?: number;
  /** Of events with the same key and audience only the newest reaches a reader who is behind. */
  coalesce?: string;
  /** Milliseconds that these clients wait before they reconnect. */
  retry?: number;
  /** An event with a key that was published before is not published again. Without one the publisher makes its own. */
  idempotencyKey?: string;
}

/** An event with its audience, as `publish` takes it. */
export interface Envelope extends Audience, EventOptions {
  broadcast?: boolean;
  event?: string;
  data?: unknown;
}

/** An event without its audience, as `createEvent` makes it and every `sendTo…` takes it. */
export interface SidestreamEvent<Data = unknown> extends EventOptions {
  event: string;
  data: Data;
}

/** What became of a call. Nothing is thrown: look at `ok`, or give it to `orThrow`. */
export type Outcome<Value> =
  | { ok: true; status: 'done'; value: Value }
  | {
      ok: false;
      /**
       * `queued`: not yet carried out, still being tried; `failed`: refused, or tried for too long; `dropped`: the
       * queue was full, or the publisher is closed.
       */
      status: 'queued' | 'failed' | 'dropped';
      error: SidestreamError;
    };

export interface Receipt {
  /** The event's id, as browsers see it; `null` for ephemeral events and those that went over Redis channels. */
  id: string | null;
  /** How many streams of the instance that was asked the event was for. */
  matched: number;
  /** The idempotency key was known: nothing was published. */
  duplicate?: true;
  relayed?: true;
}

export interface Instance {
  id: string;
  name: string;
}

export interface ConnectionFilter {
  user?: Name;
  session?: Name;
  topic?: Name;
  client?: string;
  address?: string;
  instance?: string;
}

export interface Connection {
  client: string;
  user: string | null;
  session: string | null;
  topics: string[];
  topics_total: number;
  address: string;
  path: string;
  instance: Instance;
  start: "fresh" | "resumed" | "reset" | null;
  opened: string;
  age_seconds: number;
  sent: number;
  position: string | null;
  behind: { events: number; more: boolean };
  blocked: boolean;
}

export interface ConnectionCount {
  total: number;
  instances: InstanceStreams[];
  /** Whether every instance has answered. */
  complete: boolean;
}

export interface Closing {
  /** `false`: the client shall stay away. Default `true`: it comes back by itself. */
  reconnect?: boolean;
  /** How long a client that shall stay away is kept out, such as `"10m"`. */
  for?: string;
}

export interface Closed {
  closed: number;
  complete: boolean;
  until?: string;
}

export interface GivenTopics {
  topics: string[];
  position?: string;
  streams?: number;
}

/** Whose topics are changed. */
export type Holder = { user: Name } | { session: Name } | { client: string };

export interface Revocation {
  user?: Name;
  session?: Name;
  token?: Name;
  topic?: Name;
  for?: string;
}

export interface Revoked {
  ended: number;
  told?: boolean;
  until: string;
}

/** An instance with how many streams it has. */
export interface InstanceStreams extends Instance {
  streams: number;
}

export interface PresenceTotals {
  users_total: number;
  streams: number;
  instances: InstanceStreams[];
  complete: boolean;
}

export interface UserPresence {
  user: string;
  online: boolean;
  streams: number;
  since?: string | null;
  instances: InstanceStreams[];
  /** `false` while an instance lives of which not everything is known. */
  complete: boolean;
}

export interface UsersPresence {
  /** Those of the users that were asked for that are online, in the order of their names. */
  users: string[];
  complete: boolean;
}

export interface TopicPresence {
  topic: string;
  streams: number;
  /** Of these, those of nobody. */
  anonymous: number;
  users_total: number;
  users?: string[];
  next?: string | null;
  complete: boolean;
}

export interface TicketGrant {
  user?: Name;
  session?: Name;
  topics?: readonly Name[];
  claims?: Record<string, unknown>;
  expires_in?: number;
  token_id?: Name;
}

export interface Ticket {
  ticket: string;
  expires_in: number;
  token_id: string;
  until: number;
}

export interface StoredEvent {
  id: string;
  event: string | null;
  data: string;
  at: number;
}

export interface EventPage {
  topic: string;
  events: StoredEvent[];
  next: string | null;
  more: boolean;
  reset?: string;
}

export interface Counters {
  /** Waiting, with those that are on their way. */
  queued: number;
  queuedBytes: number;
  /** Carried out: events published, and other calls done. */
  done: number;
  /** Refused, or tried for too long. */
  failed: number;
  /** Not taken, because the queue was full or the publisher closed. */
  dropped: number;
  /** Requests that were sent again. */
  retries: number;
  /** Whether the last request of the queue got an answer; `null` before the first one. */
  reachable: boolean | null;
}
