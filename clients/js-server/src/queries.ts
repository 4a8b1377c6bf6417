// What sidestream can be asked about streams, users and its log. Questions stand in no order with what is queued.
import { SidestreamError } from './errors.js';
import type { Client } from './http.js';
import type * as type from './types.js';
import type { Name } from './types.js';
import { query, segment } from './url.js';

// After a question without an answer the next ones do not wait for theirs.
const DEAF_FOR = 1000;

/**
 * Every method rejects with a SidestreamError when there is no answer within `queryTimeout`, and one that is not awaited
 * does not end the process by that.
 */
export class Queries {
  readonly #client: Client;
  readonly #timeout: number;
  #deafUntil = 0;

  constructor(client: Client, timeout: number) {
    this.#client = client;
    this.#timeout = timeout;
  }

  /** How many streams are open, by instance. */
  count(filter: type.ConnectionFilter = {}): Promise<type.ConnectionCount> {
    return this.#get(`/connections/count${query({ ...filter })}`);
  }

  /** All open streams, read page by page as they are asked for. */
  async *connections(filter: type.ConnectionFilter = {}, limit = 1000): AsyncGenerator<type.Connection, void> {
    yield* this.#pages<'connections', type.Connection>('/connections', { ...filter, limit }, 'connections');
  }

  /** One stream; `undefined` when there is none of that name. */
  connection(client: string): Promise<type.Connection | undefined> {
    return this.#unless404(this.#get(`/connections/${segment(client)}`));
  }

  /** How many users and streams there are. */
  presence(): Promise<type.PresenceTotals> {
    return this.#get('/presence');
  }

  /** Whether a user is online, and where. */
  user(user: Name): Promise<type.UserPresence> {
    return this.#get(`/presence/users/${segment(user)}`);
  }

  /** Which of up to 10,000 users are online. */
  users(users: readonly Name[]): Promise<type.UsersPresence> {
    return this.#send('POST', '/presence/users', JSON.stringify({ users: users.map(String) }));
  }

  /** Everybody who is online, by name. */
  async *online(): AsyncGenerator<string, void> {
    yield* this.#pages<'users', string>('/presence/users', {}, 'users');
  }

  /** Who is on a topic. */
  topic(topic: Name): Promise<type.TopicPresence> {
    return this.#get(`/presence/topics/${segment(topic)}`);
  }

  /** The topics that a user, session or client has been given. */
  givenTopics(holder: type.Holder): Promise<type.GivenTopics> {
    const [[kind, name] = ['user', '']] = Object.entries(holder) as [string, Name][];
    return this.#get(`/${kind}s/${segment(name)}/topics`);
  }

  /** Where the log ends: take it before the snapshot that a page is rendered from. */
  async position(): Promise<string> {
    return (await this.#get<{ position: string }>('/position')).position;
  }

  /** What the log keeps of a topic: a page behind `since`, or the `last` ones. */
  events(topic: Name, page: { since?: string; limit?: number; last?: number } = {}): Promise<type.EventPage> {
    return this.#get(`/topics/${segment(topic)}/events${query({ ...page })}`);
  }

  /** A one-time ticket for a stream with `auth = "ticket"`. */
  ticket(grant: type.TicketGrant): Promise<type.Ticket> {
    return this.#send('POST', '/tickets', JSON.stringify(grant));
  }

  async *#pages<Key extends string, Value>(path: string, parameters: Record<string, unknown>, key: Key) {
    let cursor: string | null | undefined;
    do {
      const page: Record<Key, Value[]> & { next?: string | null } = await this.#get(
        `${path}${query({ ...parameters, cursor })}`,
      );
      yield* page[key];
      cursor = page.next;
    } while (cursor);
  }

  async #unless404<Value>(asked: Promise<Value>): Promise<Value | undefined> {
    try {
      return await asked;
    } catch (error) {
      if (error instanceof SidestreamError && error.status === 404) return undefined;
      throw error;
    }
  }

  #get<Value>(path: string): Promise<Value> {
    return this.#send('GET', path);
  }

  #send<Value>(method: string, path: string, body?: string): Promise<Value> {
    const answer = this.#answer(method, path, body) as Promise<Value>;
    // It is the caller's to handle; a caller who does not is not ended by it.
    answer.catch(() => {});
    return answer;
  }

  async #answer(method: string, path: string, body: string | undefined): Promise<unknown> {
    if (Date.now() < this.#deafUntil) {
      const details = { kind: 'unreachable' } as const;
      throw new SidestreamError(`${method} ${path.replace(/\?.*/s, '')}: sidestream has just not answered`, details);
    }
    const from = Date.now();
    try {
      return await this.#client.send({ method, path, body, timeout: this.#timeout });
    } catch (error) {
      if (Date.now() - from >= this.#timeout) this.#deafUntil = Date.now() + DEAF_FOR;
      throw error;
    }
  }
}
