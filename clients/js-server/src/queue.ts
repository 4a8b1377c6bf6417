// What is to be carried out, in the order of the calls: bounded, one request at a time, tried again until it is done, refused,
// or too old. Events that stand behind each other go out as one request.
import type { Client } from './http.js';
import { SidestreamError, type Problem } from './errors.js';
import type { Counters, Outcome } from './types.js';

export interface QueueSettings {
  maxQueue: number;
  maxQueueBytes: number;
  maxBatch: number;
  timeout: number;
  giveUpAfter: number;
  minBackoff: number;
  maxBackoff: number;
}

export interface Hooks {
  /** Something failed for good, or (with `retrying`) will be tried again. */
  failed(error: SidestreamError, count: number, retrying: boolean): void;
  down(error: SidestreamError): void;
  up(): void;
}

interface Item {
  /** Its place in the order of the calls. */
  seq: number;
  /** An event's JSON text; a command's body. */
  text: string | undefined;
  /** A command's own request; absent for an event. */
  command?: { method: string; path: string; gone: boolean };
  bytes: number;
  at: number;
  settle: (outcome: Outcome<unknown>) => void;
}

const BATCH_BYTES = 256 * 1024;
// Bookkeeping of an item, so that a bound in bytes holds for many small ones too.
const OVERHEAD = 256;

export class Queue {
  readonly #client: Client;
  readonly #settings: QueueSettings;
  readonly #hooks: Hooks;
  #items: Item[] = [];
  #bytes = 0;
  #runs = false;
  #closed = false;
  /** Failed attempts since the last answer. */
  #attempts = 0;
  /** Ends the pause before the next attempt. */
  #wake: (() => void) | undefined;
  #seq = 0;
  #flushes: { upTo: number; done: () => void }[] = [];
  #done = 0;
  #failed = 0;
  #dropped = 0;
  #retries = 0;
  #reachable: boolean | null = null;
  // A bound of a batch that a daemon with smaller limits has taught.
  #most: number;
  // How many of the next events go out one by one, because together they were refused.
  #alone = 0;

  constructor(client: Client, settings: QueueSettings, hooks: Hooks) {
    this.#client = client;
    this.#settings = settings;
    this.#hooks = hooks;
    this.#most = settings.maxBatch;
  }

  /**
   * Takes an event, or with `command` another request, and settles when it is done or will never be; `late` milliseconds
   * later it settles as `queued` and goes on being tried. While the daemon is known to be away it does so at once.
   */
  add(text: string | undefined, command: Item['command'], late: number): Promise<Outcome<unknown>> {
    const bytes = Buffer.byteLength(text ?? '') + OVERHEAD;
    const { maxQueue, maxQueueBytes } = this.#settings;
    const [why, kind] = this.#closed
      ? ['the publisher is closed', 'closed' as const]
      : [`the queue is full (${this.#items.length} calls, ${this.#bytes} bytes)`, 'dropped' as const];
    if (this.#closed || this.#items.length >= maxQueue || this.#bytes + bytes > maxQueueBytes) {
      const error = new SidestreamError(why, { kind });
      this.#dropped += 1;
      this.#hooks.failed(error, 1, false);
      return Promise.resolve({ ok: false, status: 'dropped', error });
    }
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined;
      const settle = (outcome: Outcome<unknown>) => {
        clearTimeout(timer);
        resolve(outcome);
      };
      const wait = () => {
        const error = new SidestreamError('not yet: sidestream has not answered', { kind: 'unreachable', unknown: true });
        resolve({ ok: false, status: 'queued', error });
      };
      this.#seq += 1;
      this.#items.push({ seq: this.#seq, text, ...(command && { command }), bytes, at: Date.now(), settle });
      this.#bytes += bytes;
      if (this.#attempts > 0 && late < Infinity) wait();
      else if (late < Infinity) timer = setTimeout(wait, late);
      // Nothing else here keeps a process alive for a caller who waits to the end.
      else timer = setTimeout(() => {}, 2 ** 31 - 1);
      this.#start();
    });
  }

  /** Waits until all that has been taken so far is settled; `false` when that takes longer than `deadline`. */
  flush(deadline: number): Promise<boolean> {
    if (this.#items.length === 0) return Promise.resolve(true);
    this.#wake?.();
    return new Promise((resolve) => {
      const flush = { upTo: this.#seq, done: () => end(true) };
      const end = (all: boolean) => {
        clearTimeout(timer);
        this.#flushes = this.#flushes.filter((other) => other !== flush);
        resolve(all);
      };
      const timer = setTimeout(() => end(false), deadline);
      this.#flushes.push(flush);
    });
  }

  /** Takes nothing more, flushes, and gives up what is left at the deadline. */
  async close(deadline: number): Promise<boolean> {
    this.#closed = true;
    const all = await this.flush(deadline);
    const left = this.#items;
    this.#items = [];
    this.#bytes = 0;
    if (left.length > 0) {
      const unknown = this.#runs && this.#wake === undefined;
      const error = new SidestreamError('the publisher was closed before it could be sent', { kind: 'closed', unknown });
      this.#dropped += left.length;
      for (const item of left) item.settle({ ok: false, status: 'dropped', error });
      this.#hooks.failed(error, left.length, false);
    }
    this.#wake?.();
    return all;
  }

  counters(): Counters {
    return {
      queued: this.#items.length,
      queuedBytes: this.#bytes,
      done: this.#done,
      failed: this.#failed,
      dropped: this.#dropped,
      retries: this.#retries,
      reachable: this.#reachable,
    };
  }

  #start(): void {
    if (this.#runs) return;
    this.#runs = true;
    // Not at once: calls of the same turn go out together.
    queueMicrotask(() => void this.#run());
  }

  async #run(): Promise<void> {
    try {
      while (this.#items.length > 0) {
        const head = this.#head();
        try {
          const answer = await this.#send(head);
          this.#answered();
          this.#attempts = 0;
          await this.#accept(head, answer);
        } catch (error) {
          await this.#reject(head, asError(error));
        }
      }
    } finally {
      this.#runs = false;
    }
  }

  /** What goes into the next request: one command, or the events up to the next one. */
  #head(): Item[] {
    const head: Item[] = [];
    const most = this.#alone > 0 ? 1 : this.#most;
    let bytes = 0;
    for (const item of this.#items) {
      bytes += item.bytes;
      if (head.length > 0 && (item.command || head.length >= most || bytes > BATCH_BYTES)) break;
      head.push(item);
      if (item.command) break;
    }
    return head;
  }

  #send(head: Item[]): Promise<unknown> {
    const { timeout } = this.#settings;
    const [first] = head as [Item];
    if (first.command) {
      const { method, path } = first.command;
      return this.#client.send({ method, path, body: first.text, timeout });
    }
    const body = `[${head.map((item) => item.text).join(',')}]`;
    return this.#client.send({ method: 'POST', path: '/publish?partial=true', body, timeout });
  }

  async #accept(head: Item[], answer: unknown): Promise<void> {
    if (head[0]?.command) return this.#take(head, [answer]);
    const results = (answer as { events?: unknown } | null)?.events;
    if (!Array.isArray(results) || results.length !== head.length) {
      const error = new SidestreamError('POST /publish: the answer is not sidestream’s', { kind: 'bad_answer' });
      return this.#fail(head, error);
    }
    // Those that the daemon could not take just then stay where they are, and are tried again.
    const errors = results.map(refusal);
    const again = errors.filter((error) => error?.isTemporary).at(-1);
    this.#take(head.filter((_, at) => !errors[at]), results.filter((_, at) => !errors[at]));
    for (const [at, item] of head.entries()) {
      const error = errors[at];
      if (error && !error.isTemporary) this.#fail([item], error);
    }
    if (again) await this.#pause(again);
  }

  async #reject(head: Item[], error: SidestreamError): Promise<void> {
    const [first] = head as [Item];
    if (!this.#items.includes(first)) return; // closed meanwhile
    if (error.status !== undefined) this.#answered();
    if (!error.isTemporary) this.#attempts = 0;
    if (error.status === 404 && first.command?.gone) {
      // What was to be closed is gone, perhaps by the request whose answer was lost.
      this.#take(head, [{ closed: 0, instances: [], complete: true }]);
    } else if (error.status === 413 && head.length > 1) {
      this.#most = head.length >> 1;
    } else if (error.status === 400 && head.length > 1) {
      this.#alone = head.length;
    } else if (error.isTemporary) {
      await this.#pause(error);
    } else {
      this.#fail(head, error);
    }
  }

  /** Waits before the next attempt; gives up what has become too old. */
  async #pause(error: SidestreamError): Promise<void> {
    this.#attempts += 1;
    if (error.status === undefined) {
      if (this.#reachable !== false) this.#hooks.down(error);
      this.#reachable = false;
    }
    const old = Date.now() - this.#settings.giveUpAfter;
    let count = 0;
    while (count < this.#items.length && (this.#items[count] as Item).at <= old) count += 1;
    if (count > 0) {
      const message = `given up after ${this.#settings.giveUpAfter} ms: ${error.message}`;
      const { status, problem, unknown } = error;
      const details = { kind: 'given_up', status, problem, unknown, cause: error } as const;
      this.#fail(this.#items.slice(0, count), new SidestreamError(message, details));
    }
    if (this.#items.length === 0) return;
    this.#retries += 1;
    this.#hooks.failed(error, this.#items.length, true);
    const { minBackoff, maxBackoff } = this.#settings;
    const most = Math.min(maxBackoff, minBackoff * 2 ** Math.min(this.#attempts - 1, 30));
    const asked = Math.min(error.retryAfter ?? 0, Math.max(maxBackoff, 30_000));
    await this.#sleep(asked + most * (0.5 + Math.random() / 2));
  }

  #sleep(wait: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
      // A process with nothing else to do does not stay for it: the publisher flushes once more on its way out.
      const timer = setTimeout(wake, wait).unref();
      this.#wake = wake;
    });
  }

  #answered(): void {
    const wasDown = this.#reachable === false;
    this.#reachable = true;
    if (wasDown) this.#hooks.up();
  }

  #take(items: Item[], values: unknown[]): void {
    this.#done += this.#remove(items);
    for (const [at, item] of items.entries()) item.settle({ ok: true, status: 'done', value: values[at] });
    this.#flushed();
  }

  #fail(items: Item[], error: SidestreamError): void {
    const count = this.#remove(items);
    this.#failed += count;
    for (const item of items) item.settle({ ok: false, status: 'failed', error });
    if (count > 0) this.#hooks.failed(error, count, false);
    this.#flushed();
  }

  /** How many of them were still there: none when the queue was closed meanwhile. */
  #remove(items: Item[]): number {
    if (items.length === 0 || !this.#items.includes(items[0] as Item)) return 0;
    if (this.#items[items.length - 1] === items[items.length - 1]) {
      this.#items.splice(0, items.length);
    } else {
      const gone = new Set(items);
      this.#items = this.#items.filter((item) => !gone.has(item));
    }
    for (const item of items) this.#bytes -= item.bytes;
    this.#alone = Math.max(0, this.#alone - items.length);
    return items.length;
  }

  #flushed(): void {
    const first = this.#items[0]?.seq ?? Infinity;
    for (const flush of this.#flushes) if (flush.upTo < first) flush.done();
  }
}

/** What the daemon says against one event of several; `undefined` when it is published. */
function refusal(result: unknown): SidestreamError | undefined {
  if (typeof result !== 'object' || result === null) {
    return new SidestreamError('POST /publish: the answer is not sidestream’s', { kind: 'bad_answer' });
  }
  const { status, error, ...more } = result as Problem & { status?: number };
  if (error === undefined) return undefined;
  // The sentence counts the events of a request that the caller has never seen.
  const said = error.replace(/^item \d+ \(counted from 0\): /, '');
  return new SidestreamError(`POST /publish: ${status} ${said}`, {
    kind: (status ?? 0) >= 500 || status === 429 ? 'unavailable' : 'refused',
    status,
    problem: { ...more, error: said },
    unknown: more.published === 'unknown',
  });
}

function asError(error: unknown): SidestreamError {
  if (error instanceof SidestreamError) return error;
  return new SidestreamError(error instanceof Error ? error.message : String(error), { kind: 'unreachable', cause: error });
}
