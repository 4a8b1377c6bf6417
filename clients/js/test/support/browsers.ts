// Three engines behind one small door: Chromium and Firefox by puppeteer-core, WebKit by its own WebDriver.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { build } from 'esbuild';
import puppeteer, { type Browser as Puppet, type Page } from 'puppeteer-core';

export type Engine = 'chromium' | 'firefox' | 'webkit';

export interface Tab {
  go(url: string): Promise<void>;
  back(): Promise<void>;
  /** The value of an expression, awaited. */
  run<T = any>(expression: string): Promise<T>;
  /** Without asking the page, or letting it know. */
  close(): Promise<void>;
  /** Chromium's own. */
  readonly page?: Page;
}

export interface Browser {
  readonly engine: Engine;
  tab(): Promise<Tab>;
  close(): Promise<void>;
}

const first = (...paths: (string | undefined)[]): string => {
  const found = paths.find((path) => path && existsSync(path));
  if (!found) throw new Error(`none of these is installed: ${paths.filter(Boolean).join(', ')}`);
  return found;
};

async function puppet(engine: 'chromium' | 'firefox'): Promise<Browser> {
  const browser: Puppet = await puppeteer.launch(
    engine === 'chromium'
      ? {
          executablePath: first(
            process.env['SIDESTREAM_CHROMIUM'],
            '/usr/bin/chromium',
            '/usr/bin/chromium-browser',
            '/usr/bin/google-chrome',
          ),
          args: [
            '--no-sandbox',
            '--disable-gpu',
            '--disable-background-networking',
            '--disable-dev-shm-usage',
            '--disable-component-update',
            '--no-first-run',
          ],
        }
      : {
          browser: 'firefox',
          executablePath: first(process.env['SIDESTREAM_FIREFOX'], '/usr/bin/firefox-esr', '/usr/bin/firefox'),
          // As a page finds it that nobody drives.
          extraPrefsFirefox: { 'fission.bfcacheInParent': true, 'browser.sessionhistory.max_total_viewers': 4 },
        },
  );
  return {
    engine,
    async tab() {
      const page = await browser.newPage();
      return {
        page,
        async go(url) {
          await page.goto(url, { waitUntil: 'load' });
        },
        async back() {
          await page.goBack({ waitUntil: [] });
        },
        run: (expression) => page.evaluate(expression) as Promise<any>,
        close: () => page.close(),
      };
    },
    close: () => browser.close(),
  };
}

/** The few words of WebDriver that are needed here. */
async function webkit(): Promise<Browser> {
  const children: ChildProcess[] = [];
  const end = () => children.reverse().forEach((child) => child.kill());
  try {
    const display = await new Promise<string>((found, failed) => {
      const screen = spawn(first('/usr/bin/Xvfb'), ['-displayfd', '3', '-nolisten', 'tcp'], {
        stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
      });
      children.push(screen);
      screen.stdio[3]!.once('data', (number) => found(`:${String(number).trim()}`));
      screen.on('exit', () => failed(new Error('Xvfb ended')));
    });
    const port = await new Promise<number>((found) => {
      const free = createServer().listen(0, '127.0.0.1', () => {
        const { port } = free.address() as AddressInfo;
        free.close(() => found(port));
      });
    });
    const driver = spawn(first('/usr/bin/WebKitWebDriver'), [`--port=${port}`], {
      stdio: 'ignore',
      env: {
        ...process.env,
        DISPLAY: display,
        WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: '1',
        LIBGL_ALWAYS_SOFTWARE: '1',
        WEBKIT_DISABLE_COMPOSITING_MODE: '1',
      },
    });
    children.push(driver);
    const ask = async (method: string, path: string, body?: unknown): Promise<any> => {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
        method,
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      const { value } = (await answer.json()) as any;
      if (!answer.ok) throw new Error(`${method} ${path}: ${JSON.stringify(value)}`);
      return value;
    };
    const binary = first(
      ...['x86_64', 'aarch64'].flatMap((machine) =>
        ['4.1', '4.0'].map((api) => `/usr/lib/${machine}-linux-gnu/webkit2gtk-${api}/MiniBrowser`),
      ),
    );
    const capabilities = { alwaysMatch: { 'webkitgtk:browserOptions': { binary, args: ['--automation'] } } };
    let session: any;
    for (let tries = 0; !session; tries++) {
      session = await ask('POST', '/session', { capabilities }).catch(async (error) => {
        if (tries > 100 || error.cause?.code !== 'ECONNREFUSED') throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      });
    }
    const root = `/session/${session.sessionId}`;
    // The session ends with its last window, so the first one stays.
    const home = await ask('GET', `${root}/window`);
    // One command at a time: each begins with the choice of its window.
    let turn: Promise<unknown> = Promise.resolve();
    return {
      engine: 'webkit',
      async tab() {
        const at = (handle: string, method: string, path: string, body?: unknown): Promise<any> => {
          const result = turn.then(async () => {
            await ask('POST', `${root}/window`, { handle });
            return ask(method, root + path, body);
          });
          turn = result.catch(() => {});
          return result;
        };
        const { handle } = await at(home, 'POST', '/window/new', { type: 'tab' });
        const here = (method: string, path: string, body?: unknown) => at(handle, method, path, body);
        return {
          async go(url) {
            await here('POST', '/url', { url });
          },
          async back() {
            await here('POST', '/back', {});
          },
          async run(expression) {
            const script =
              'const [code, done] = arguments; Promise.resolve().then(() => (0, eval)(code)).then((value) => done({ value }), (error) => done({ error: String(error) }));';
            const { value, error } = await here('POST', '/execute/async', { script, args: [expression] });
            if (error) throw new Error(error);
            return value;
          },
          async close() {
            await here('DELETE', '/window');
          },
        };
      },
      async close() {
        await ask('DELETE', root).catch(() => {});
        end();
      },
    };
  } catch (error) {
    end();
    throw error;
  }
}

export const browser = (engine: Engine): Promise<Browser> => (engine === 'webkit' ? webkit() : puppet(engine));

const built = new Map<string, Promise<string>>();
const bundle = async (name: string) => {
  const entryPoints = [new URL(`../page/${name}.js`, import.meta.url).pathname];
  const { outputFiles } = await build({
    entryPoints,
    bundle: true,
    format: 'iife',
    write: false,
    define: { 'process.env.NODE_ENV': '"development"' },
  });
  return outputFiles[0]!.text;
};

/**
 * The application behind the daemon: `/` is a page with the first of `scripts`, `/name` one with the script of that name,
 * `/other` one without; and what a test adds.
 */
export async function site(
  scripts: string[],
  paths: Record<string, (url: URL) => string> = {},
): Promise<{ origin: string; stop(): Promise<void> }> {
  for (const name of scripts) if (!built.has(name)) built.set(name, bundle(name));
  const texts = new Map<string, string>();
  for (const name of scripts) texts.set(`/${name}.js`, await built.get(name)!);
  const server = createServer((request, response) => {
    const url = new URL(request.url!, 'http://page');
    const path = url.pathname;
    const name = path === '/' ? scripts[0] : path.slice(1);
    const [type, body] = texts.has(path)
      ? ['text/javascript', texts.get(path)!]
      : paths[path]
        ? ['text/plain', paths[path]!(url)]
        : [
            'text/html',
            texts.has(`/${name}.js`)
              ? `<!doctype html><title>page</title><body><script src="/${name}.js"></script>`
              : '<!doctype html><title>other</title>',
          ];
    response.writeHead(200, { 'content-type': `${type}; charset=utf-8` }).end(body);
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}
