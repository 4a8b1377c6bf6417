// One request at a time limit, over connections that are kept. Knows nothing of queues or events.
import * as http from 'node:http';
import * as https from 'node:https';
import { SidestreamError, type Problem } from './errors.js';

/** The key, or what gives it: asked at each request, so that a key can be replaced while the process runs. */
export type Key = string | (() => string | Promise<string>);

export interface Request {
  method: string;
  /** With its query, already percent-encoded. */
  path: string;
  body?: string | undefined;
  timeout: number;
}

interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  text: string;
}

const ANSWER_MAX = 16 * 1024 * 1024;
// Less than the daemon's own 75 s, so that a request seldom meets a connection which is being closed.
const IDLE_MAX = 30_000;

export class Client {
  readonly #base: URL;
  readonly #key: Key;
  readonly #agent: http.Agent;
  #closed = false;

  readonly #holds: boolean;

  /** With `holds`, a request that is under way keeps the process from ending. */
  constructor(url: string, key: Key, sockets: number, holds: boolean) {
    this.#base = new URL(url);
    if (this.#base.protocol !== 'http:' && this.#base.protocol !== 'https:') {
      throw new TypeError(`sidestream: the address must begin with http:// or https://, not ${this.#base.protocol}//`);
    }
    this.#key = key;
    this.#holds = holds;
    const Agent = this.#base.protocol === 'https:' ? https.Agent : http.Agent;
    this.#agent = new Agent({ keepAlive: true, maxSockets: sockets, maxFreeSockets: sockets, timeout: IDLE_MAX });
  }

  /** The answer's JSON. Fails with a SidestreamError, and never later than `timeout`. */
  async send(request: Request): Promise<unknown> {
    const until = Date.now() + request.timeout;
    const what = `${request.method} ${request.path.replace(/\?.*/s, '')}`;
    const key = await this.#ask(until, request.timeout);
    const { status, headers, text } = await this.#exchange(request, what, key, until, true);
    const json = parse(text);
    if (status >= 200 && status < 300) {
      if (json !== undefined) return json;
      throw new SidestreamError(`${what}: the answer is no JSON`, { kind: 'bad_answer', status });
    }
    const problem = isProblem(json) ? json : undefined;
    throw new SidestreamError(`${what}: ${status} ${problem?.error ?? http.STATUS_CODES[status] ?? ''}`.trim(), {
      kind: isTemporary(status) ? 'unavailable' : 'refused',
      status,
      problem,
      retryAfter: retryAfter(headers['retry-after']),
      unknown: isTemporary(status) && problem?.published !== 'nothing',
    });
  }

  /** Ends all connections. */
  close(): void {
    this.#closed = true;
    this.#agent.destroy();
  }

  async #ask(until: number, timeout: number): Promise<string> {
    if (typeof this.#key === 'string') return this.#key;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no key within ${timeout} ms`)), until - Date.now());
    });
    try {
      return await Promise.race([this.#key(), late]);
    } catch (cause) {
      throw new SidestreamError(`there is no key: ${reason(cause)}`, { kind: 'unreachable', cause });
    } finally {
      clearTimeout(timer);
    }
  }

  #exchange(request: Request, what: string, key: string, until: number, again: boolean): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const headers: http.OutgoingHttpHeaders = { accept: 'application/json' };
      if (key !== '') headers['authorization'] = `Bearer ${key}`;
      if (request.body !== undefined) {
        headers['content-type'] = 'application/json';
        headers['content-length'] = Buffer.byteLength(request.body);
      }
      const target = new URL(this.#base);
      const path = target.pathname.replace(/\/$/, '') + request.path;
      const { request: open } = this.#base.protocol === 'https:' ? https : http;
      const sent = open({
        agent: this.#agent,
        protocol: target.protocol,
        hostname: target.hostname.replace(/^\[|\]$/g, ''),
        port: target.port,
        method: request.method,
        path,
        headers,
      });
      const fail = (cause: unknown, unknown: boolean) => {
        clearTimeout(timer);
        sent.destroy();
        reject(new SidestreamError(`${what}: ${reason(cause)}`, { kind: 'unreachable', cause, unknown }));
      };
      const timer = setTimeout(() => {
        fail(new Error(`no answer within ${request.timeout} ms`), isOut);
      }, until - Date.now());
      if (!this.#holds) timer.unref();
      // Until a connection stands nothing can have been done.
      let isOut = false;
      sent.on('socket', (socket) => {
        if (!this.#holds) socket.unref();
        if (socket.connecting) socket.once('connect', () => (isOut = true));
        else isOut = true;
      });
      sent.on('error', (error: NodeJS.ErrnoException) => {
        // The daemon closed a kept connection just when it was taken. Every request may be sent twice.
        if (again && !this.#closed && sent.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE')) {
          clearTimeout(timer);
          resolve(this.#exchange(request, what, key, until, false));
        } else {
          fail(error, isOut);
        }
      });
      sent.on('response', (answer) => {
        const parts: Buffer[] = [];
        let size = 0;
        answer.on('data', (part: Buffer) => {
          parts.push(part);
          size += part.length;
          if (size > ANSWER_MAX) fail(new Error(`the answer is larger than ${ANSWER_MAX} bytes`), true);
        });
        answer.on('error', (error) => fail(error, true));
        answer.on('aborted', () => fail(new Error('the answer broke off'), true));
        answer.on('end', () => {
          clearTimeout(timer);
          const text = Buffer.concat(parts).toString('utf8');
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text });
        });
      });
      sent.end(request.body);
    });
  }
}

const isTemporary = (status: number) => status === 408 || status === 425 || status === 429 || status >= 500;

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isProblem(json: unknown): json is Problem {
  return typeof json === 'object' && json !== null && typeof (json as Problem).error === 'string';
}

/** Milliseconds, of seconds or a date. */
function retryAfter(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const wait = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(wait) ? Math.max(0, wait) : undefined;
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // What a name with several addresses fails with says nothing by itself.
  const [first] = error instanceof AggregateError ? error.errors : [];
  return error.message || (first instanceof Error ? first.message : error.name);
}
