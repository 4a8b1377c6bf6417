// A real daemon, streams of it, and servers that misbehave.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const KEY = 'test-key';
const BINARY = process.env.SIDESTREAM_BIN ?? fileURLToPath(new URL('../../../target/debug/sidestream', import.meta.url));
assert.ok(existsSync(BINARY), `${BINARY} is not there: cargo build, or set SIDESTREAM_BIN`);

export const ROUTE = `
[[stream]]
path    = "/events"
auth    = "none"
user    = "{query.userId}"
session = "{query.sessionId}"
topics  = ["conversation:{query.conversationId}"]

[[stream]]
path   = "/status"
source = "poll"

[sse]
heartbeat = "0s"
`;

/** Starts a daemon for a test, which ends it. */
export async function startDaemon(t, config = ROUTE) {
  const folder = mkdtempSync(join(tmpdir(), 'sidestream-'));
  const file = join(folder, 'sidestream.toml');
  writeFileSync(file, config);
  const daemon = { file, internal: '127.0.0.1:0' };
  t.after(() => {
    daemon.process?.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  });
  await run(daemon);
  return daemon;
}

/** Starts it, or starts it again where it listened before. */
export async function run(daemon) {
  const child = spawn(BINARY, ['serve', '--config', daemon.file], {
    env: {
      ...process.env,
      SIDESTREAM_PUBLIC_LISTEN: '127.0.0.1:0',
      SIDESTREAM_PUBLIC_BACKEND: 'http://127.0.0.1:9',
      SIDESTREAM_INTERNAL_LISTEN: daemon.internal,
      SIDESTREAM_INTERNAL_PUBLISH_KEYS: KEY,
      SIDESTREAM_TELEMETRY_LOG_FORMAT: 'json',
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  daemon.process = child;
  daemon.log = '';
  await within('the daemon listens', new Promise((resolve, reject) => {
    child.on('exit', (code) => reject(new Error(`the daemon ended with ${code}: ${daemon.log}`)));
    createInterface(child.stderr).on('line', (line) => {
      daemon.log += `${line}\n`;
      const said = JSON.parse(line);
      if (said.message !== 'listening') return;
      daemon.public = said.public;
      daemon.internal = said.internal;
      resolve();
    });
  }));
  daemon.url = `http://${daemon.internal}`;
}

export async function kill(daemon) {
  const ended = new Promise((resolve) => daemon.process.once('exit', resolve));
  daemon.process.kill('SIGKILL');
  await within('the daemon ends', ended);
}

/** Stops it, and waits until it stands still. */
export async function stop(daemon) {
  daemon.process.kill('SIGSTOP');
  const threads = () => readdirSync(`/proc/${daemon.process.pid}/task`);
  const isStill = (id) => readFileSync(`/proc/${daemon.process.pid}/task/${id}/stat`, 'utf8').split(') ')[1].startsWith('T');
  await eventually('it stands still', () => threads().every(isStill));
}

export async function within(what, promise, limit = 10_000) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`${what}: not within ${limit} ms`)), limit)));
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export async function eventually(what, isSo) {
  await within(what, (async () => {
    while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 20));
  })());
}

/** Opens a stream; `next()` gives its events one by one, `undefined` at its end. */
export async function openStream(t, daemon, query) {
  const answer = await within('a stream', new Promise((resolve, reject) => {
    const request = http.get(`http://${daemon.public}/events?${query}`, { agent: false }, resolve);
    request.on('error', reject);
    t.after(() => request.destroy());
  }));
  assert.equal(answer.statusCode, 200);
  answer.on('error', () => {});
  answer.setEncoding('utf8');
  const blocks = (async function* () {
    let text = '';
    for await (const part of answer) {
      text += part;
      for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) yield text.slice(0, end);
    }
  })();
  const next = async () => {
    for (;;) {
      const { value, done } = await within(`an event for ${query}`, blocks.next());
      if (done) return undefined;
      const fields = Object.fromEntries(value.split('\n').map((line) => line.split(/: ?(.*)/s)));
      if (fields.data !== undefined) return { event: fields.event, data: JSON.parse(fields.data) };
    }
  };
  const connected = await next();
  return { next, client: connected.data.client };
}

/** The data of so many events. */
export async function take(stream, count) {
  const all = [];
  while (all.length < count) all.push((await stream.next())?.data);
  return all;
}

/** An HTTP server whose answers a test writes; `requests` has what came. */
export async function scripted(t, answer) {
  const requests = [];
  const server = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const text = Buffer.concat(parts).toString();
    const came = { method: request.method, url: request.url, headers: request.headers, at: Date.now() };
    requests.push({ ...came, body: text === '' ? undefined : JSON.parse(text) });
    answer(requests.at(-1), response, requests.length);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, requests, server };
}

export function json(response, status, value, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(value));
}

export const receipts = (events) => ({ events: events.map((_, at) => ({ id: `1-${at}`, matched: 0 })), refused: 0 });

/** The address of a port where nobody listens. */
export async function nowhere() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}
