// An example, started by its own `run` on ports that are free, with a wire between browser and sidestream that can be cut.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { closePages } from './browser.mjs';

export const repository = fileURLToPath(new URL('../../../', import.meta.url));

const SIDESTREAM = process.env.SIDESTREAM_BIN ?? `${repository}target/debug/sidestream`;

/** Installs what the example needs; the first time that may take minutes. */
export async function install(folder) {
  const program = spawn('./run', ['install'], { cwd: `${repository}examples/${folder}`, stdio: ['ignore', 'inherit', 'inherit'] });
  const [code] = await once(program, 'close');
  if (code !== 0) throw new Error(`examples/${folder}/run install: ${code}`);
}

/**
 * Starts `examples/<folder>`; `test` ends it. Its `url` leads over the wire, `direct` past it; `ask` reads from the internal
 * listener, and `streams` waits until so many are open. Without a `sidestream.toml` there is the app alone.
 */
export async function start(test, folder, environment = {}) {
  const [app, publicly, internally] = [await freePort(), await freePort(), await freePort()];
  const log = [];
  const program = spawn('./run', {
    cwd: `${repository}examples/${folder}`,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // a group of its own, which ends with it
    env: {
      ...process.env,
      SIDESTREAM_BIN: SIDESTREAM,
      PORT: `${app}`,
      SIDESTREAM_PUBLIC_LISTEN: `127.0.0.1:${publicly}`,
      SIDESTREAM_INTERNAL_LISTEN: `127.0.0.1:${internally}`,
      SIDESTREAM_SSE_RETRY_MIN: '100ms',
      SIDESTREAM_SSE_RETRY_MAX: '300ms',
      ...environment,
    },
  });
  for (const stream of [program.stdout, program.stderr]) stream.on('data', (text) => log.push(text));
  const ended = once(program, 'close');
  const isAlone = !existsSync(`${repository}examples/${folder}/sidestream.toml`);
  test.after(async () => {
    await closePages(test).finally(end);
    if (!test.passed) test.diagnostic(`examples/${folder}:\n${log.join('')}`);
  });
  async function end() {
    try {
      process.kill(-program.pid, 'SIGTERM');
    } catch {} // it has ended
    const late = setTimeout(() => process.kill(-program.pid, 'SIGKILL'), 10_000);
    await ended;
    clearTimeout(late);
  }

  const direct = `http://127.0.0.1:${isAlone ? app : publicly}`;
  await Promise.race([
    ended.then(() => Promise.reject(new Error(`examples/${folder} ended:\n${log.join('')}`))),
    eventually(`examples/${folder} answers`, 60_000, async () => {
      const answer = await fetch(direct, { signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
      return answer && answer.status < 500;
    }),
  ]);
  const wire = await Wire.to(test, isAlone ? app : publicly);
  const ask = async (path) => {
    const headers = { authorization: 'Bearer change-me' };
    return (await fetch(`http://127.0.0.1:${internally}${path}`, { headers })).json();
  };
  const streams = (count) =>
    eventually(`${count} streams are open`, 15_000, async () => (await ask('/connections/count')).total === count);
  return { direct, url: wire.url, wire, ask, streams };
}

/** Forwards connections, until it is cut. */
class Wire {
  #sockets = new Set();
  #isCut = false;

  static async to(test, port) {
    const wire = new Wire();
    const server = createServer((socket) => {
      if (wire.#isCut) return socket.destroy();
      const onward = connect(port, '127.0.0.1');
      for (const [one, other] of [[socket, onward], [onward, socket]]) {
        wire.#sockets.add(one);
        one.pipe(other);
        one.on('error', () => {});
        one.on('close', () => {
          wire.#sockets.delete(one);
          other.destroy();
        });
      }
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    wire.url = `http://127.0.0.1:${server.address().port}`;
    test.after(() => {
      wire.cut();
      server.close();
    });
    return wire;
  }

  /** Ends all connections, and every new one at once. */
  cut() {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() {
    this.#isCut = false;
  }
}

export async function eventually(what, milliseconds, condition) {
  const deadline = Date.now() + milliseconds;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${milliseconds} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// Below the range from which the system takes ports for connections, so that none takes it before the program does.
export async function freePort() {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 20_000);
    const server = createServer();
    server.listen(port, '127.0.0.1');
    const [outcome] = await Promise.race([
      once(server, 'listening').then(() => ['free']),
      once(server, 'error').then(() => ['taken']),
    ]);
    if (outcome === 'free') {
      await new Promise((resolve) => server.close(resolve));
      return port;
    }
  }
}
