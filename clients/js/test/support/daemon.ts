// The real daemon, and a line to it that can be cut.

import { spawn, type ChildProcess } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const SECRET = 'an-example-secret-of-32-bytes-or-more';
const KEY = 'test-key';

/** Run as `node --test build/`, from `clients/js`. */
const binary =
  process.env['SIDESTREAM_BIN'] ?? new URL('../../../../target/debug/sidestream', import.meta.url).pathname;
if (!existsSync(binary)) throw new Error(`there is no ${binary}: build it (cargo build), or set SIDESTREAM_BIN`);

export interface Settings {
  /** Replaces lines of a section, or adds some: `{ sse: 'heartbeat = "1s"' }`. */
  [section: string]: string;
}

const DEFAULTS: Settings = {
  sse: 'retry_min = "10ms"\nretry_max = "50ms"',
  auth: 'warn_before = "2s"',
  'auth.jwt': `secret = "${SECRET}"\nleeway = "0s"`,
  presence: 'grace = "100ms"\ntopics = ["presence"]',
  drain: 'window = "200ms"',
};

export class Daemon {
  /** Of the public listener, without a slash behind it. */
  readonly origin: string;
  readonly #internal: string;
  readonly #process: ChildProcess;
  readonly #folder: string;

  private constructor(child: ChildProcess, folder: string, listening: { public: string; internal: string }) {
    this.#process = child;
    this.#folder = folder;
    this.origin = `http://${listening.public}`;
    this.#internal = `http://${listening.internal}`;
  }

  static async start(settings: Settings = {}, listen = '127.0.0.1:0', backend = 'http://127.0.0.1:1'): Promise<Daemon> {
    const folder = mkdtempSync(join(tmpdir(), 'sidestream-client-'));
    const sections = Object.entries({ ...DEFAULTS, ...settings }).map(([name, lines]) => `[${name}]\n${lines}\n`);
    const file = join(folder, 'sidestream.toml');
    writeFileSync(
      file,
      `[public]
listen = "${listen}"
backend = "${backend}"
[internal]
listen = "127.0.0.1:0"
publish_keys = ["${KEY}"]
[[stream]]
path = "/open"
topics = ["{query.topic}"]
[[stream]]
path = "/named"
topics = ["news"]
user = "{query.user}"
[[stream]]
path = "/jwt"
auth = "jwt"
topics = ["news"]
change_topics = true
page_publish = ["typing"]
${sections.join('')}`,
    );
    const child = spawn(binary, ['serve', '--config', file], { stdio: ['ignore', 'ignore', 'pipe'] });
    const lines: string[] = [];
    const listening = await new Promise<{ public: string; internal: string }>((found, failed) => {
      createInterface(child.stderr!).on('line', (line) => {
        lines.push(line);
        const at = /listening public=(\S+) internal=(\S+)/.exec(line);
        if (at) found({ public: at[1]!, internal: at[2]! });
      });
      child.on('exit', (code) => failed(new Error(`the daemon ended with ${code}:\n${lines.join('\n')}`)));
    });
    return new Daemon(child, folder, listening);
  }

  async request(method: string, path: string, body?: unknown): Promise<any> {
    const answer = await fetch(this.#internal + path, {
      method,
      headers: { authorization: `Bearer ${KEY}` },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text && JSON.parse(text);
  }

  async publish(data: unknown, more: object = { topic: 'news' }): Promise<string> {
    return (await this.request('POST', '/publish', { event: 'message:new', data, ...more })).id;
  }

  /** How many streams are open. */
  async streams(): Promise<number> {
    return (await this.request('GET', '/connections/count')).total;
  }

  /** Ends it: as an operator would, or at once. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGKILL'): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const ended = new Promise((resolve) => this.#process.on('exit', resolve));
      this.#process.kill(signal);
      await ended;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** A token that the daemon knows. */
export function token(seconds: number, claims: object = {}): string {
  const now = Math.floor(Date.now() / 1_000);
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: 'u1', iat: now, exp: now + seconds, ...claims })}`;
  return `${body}.${createHmac('sha256', SECRET).update(body).digest('base64url')}`;
}

/** A line to `origin` that a test can cut, or let nobody in. */
export class Line {
  readonly origin: string;
  /** Connections so far. */
  count = 0;
  refusing = false;
  /** Answers with these bytes, and hangs up. */
  garbage: string | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #stalled = new WeakSet<Socket>();
  readonly #server;

  private constructor(to: string, server: ReturnType<typeof createServer>) {
    this.#server = server;
    this.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { hostname, port } = new URL(to);
    server.on('connection', (near: Socket) => {
      if (this.refusing) return void near.resetAndDestroy();
      if (this.garbage !== undefined) {
        const bytes = this.garbage;
        return void near.on('error', () => {}).once('data', () => near.end(bytes));
      }
      this.count += 1;
      const far = connect(+port, hostname);
      for (const [from, into] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(from);
        from.on('data', (chunk) => this.#stalled.has(from) || into.write(chunk));
        from.on('error', () => into.destroy());
        from.on('close', () => {
          this.#sockets.delete(from);
          into.destroy();
        });
      }
    });
  }

  static async to(origin: string): Promise<Line> {
    const server = createServer();
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    return new Line(origin, server);
  }

  /** What is open passes nothing on any more, and says nothing. */
  stall(): void {
    for (const socket of this.#sockets) this.#stalled.add(socket);
  }

  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise((closed) => this.#server.close(closed));
  }
}
