// What every engine has to do alike, with the real daemon in front of the page's own application.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { browser, site, type Browser, type Engine, type Tab } from './browsers.js';
import { Daemon, Line, token } from './daemon.js';
import { until } from './until.js';

export interface Look {
  data: any[];
  infos: any[];
  ends: any[];
  errors: any[];
  resets: any[];
  states: string[];
  state: string;
  client: string;
  lastEventId: string;
}

export const look = (tab: Tab, name = 'a'): Promise<Look> => tab.run(`door.look(${JSON.stringify(name)}) ?? null`);
export const start = (tab: Tab, url: string, options: object = {}, name = 'a') =>
  tab.run(`door.start(${[name, url, options].map((value) => JSON.stringify(value)).join()})`);
export const opened = (tab: Tab, name = 'a') =>
  until(`${name} to open`, async () => (await look(tab, name)).state === 'open', 10_000);
export const numbers = (n: number) => Array.from({ length: n }, (_, i) => i);

/** The parts that a suite has running: the browser for all of it, the rest anew for each test. */
export function parts(engine: Engine, scripts = ['main', 'worker']) {
  let shared: Browser;
  before(async () => {
    shared = await browser(engine);
  });
  after(() => shared?.close());

  return (
    name: string,
    does: (at: {
      tab(url?: string): Promise<Tab>;
      daemon: Daemon;
      line: Line;
      asked: string[];
      application: string;
    }) => Promise<void>,
    settings = {},
  ) =>
    test(`${engine}: ${name}`, async () => {
      const asked: string[] = [];
      const application = await site(scripts, {
        '/token': (url) => (asked.push(url.searchParams.get('why')!), token(asked.length > 1 ? 60 : 2)),
        '/long': () => token(60, { topics: ['room:*'] }),
      });
      const cors = { cors: `origins = ["${application.origin}"]\ncredentials = true` };
      const daemon = await Daemon.start({ ...cors, ...settings }, '127.0.0.1:0', application.origin);
      const line = await Line.to(daemon.origin);
      const tabs: Tab[] = [];
      try {
        const tab = async (url = `${line.origin}/`) => {
          const one = await shared.tab();
          tabs.push(one);
          await one.go(url);
          return one;
        };
        await does({ tab, daemon, line, asked, application: application.origin });
      } finally {
        for (const one of tabs) await one.close().catch(() => {});
        await line[Symbol.asyncDispose]();
        await daemon.stop();
        await application.stop();
      }
    });
}

export function suite(engine: Engine) {
  const check = parts(engine);

  check('over cuts every event comes once, and in order', async ({ tab, daemon, line }) => {
    const page = await tab();
    await start(page, '/open?topic=news');
    await opened(page);
    for (const n of numbers(60)) {
      await daemon.publish(n);
      if (n % 20 === 10) line.cut();
      if (n % 20 === 19) await until('it to be back', async () => (await look(page)).infos.length > n / 20 + 1);
    }
    await until('all events', async () => (await look(page)).data.length >= 60);
    const seen = await look(page);
    assert.deepEqual(seen.data, numbers(60));
    assert.deepEqual(seen.resets, []);
  });

  check('whatever comes instead of an answer, it comes back', async ({ tab, daemon, line }) => {
    const page = await tab();
    await start(page, '/open?topic=news');
    await opened(page);
    const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';
    for (const [n, garbage] of ['HTTP/1.1 2', `${head}zz\r\n`, 'this is no HTTP\r\n\r\n', ''].entries()) {
      const { errors } = await look(page);
      line.garbage = garbage;
      line.cut();
      await until(
        `two failures of ${JSON.stringify(garbage)}`,
        async () => (await look(page)).errors.length >= errors.length + 2,
      );
      await daemon.publish(n);
      line.garbage = undefined;
      await until('what was missed', async () => (await look(page)).data.length === n + 1);
    }
    const seen = await look(page);
    assert.deepEqual(seen.data, numbers(4));
    assert.ok(seen.errors.every(({ final }) => !final));
  });

  check('when the network returns it connects at once', async ({ tab, daemon, line }) => {
    const page = await tab();
    await start(page, '/open?topic=news', { backoff: { base: 1e8, max: 1e8 } });
    await opened(page);
    line.refusing = true;
    line.cut();
    await until('the cut', async () => (await look(page)).state === 'waiting');
    await daemon.publish('meanwhile');
    line.refusing = false;
    await page.run(`dispatchEvent(new Event('online')), 0`);
    await until('what was missed', async () => (await look(page)).data.length, 2_000);
    assert.deepEqual((await look(page)).data, ['meanwhile']);
  });

  check(
    'a line that passes nothing on any more is noticed',
    async ({ tab, daemon, line }) => {
      const page = await tab();
      // The browser's idle connections stall as well, and it may try one of them first.
      await start(page, '/open?topic=news', { silence: 2_500, timeout: 500 });
      await opened(page);
      // Heartbeats are comments: they keep it.
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      assert.equal((await look(page)).infos.length, 1);
      line.stall();
      await until('it to notice', async () => (await look(page)).errors.length);
      await daemon.publish(1);
      await until('the event', async () => (await look(page)).data.length);
      assert.equal((await look(page)).errors[0].kind, 'silent');
    },
    { sse: 'retry_min = "10ms"\nretry_max = "50ms"\nheartbeat = "1s"' },
  );

  check('the log that begins anew is told as a reset', async ({ tab, daemon, application }) => {
    const page = await tab(`${daemon.origin}/`);
    await start(page, '/open?topic=news');
    await opened(page);
    await daemon.stop();
    const next = await Daemon.start({}, new URL(daemon.origin).host, application);
    try {
      await until('the reset', async () => (await look(page)).resets.length);
      assert.deepEqual((await look(page)).resets, [{ reason: 'other_log' }]);
    } finally {
      await next.stop();
    }
  });

  check('a stream outlives its token, and a cut after that', async ({ tab, daemon, line, asked }) => {
    const page = await tab();
    await start(page, '/jwt', { token: '/token' });
    await until('the renewal', () => asked.length === 2);
    await new Promise((resolve) => setTimeout(resolve, 2_200));
    line.cut();
    await until('the second stream', async () => (await look(page)).infos.length === 2);
    await daemon.publish(1);
    await until('the event', async () => (await look(page)).data.length);
    assert.deepEqual(asked, ['connect', 'expired', 'connect']);
  });

  check('kicked, it comes back; sent away, it stays away', async ({ tab, daemon }) => {
    const page = await tab();
    await start(page, '/named?user=u7');
    await opened(page);
    await daemon.request('DELETE', '/users/u7/connections');
    await until('it to come back', async () => (await look(page)).infos.length === 2);
    await daemon.request('DELETE', '/users/u7/connections?reconnect=false');
    await until('it to stop', async () => (await look(page)).state === 'closed');
    assert.deepEqual(
      (await look(page)).ends.map(({ reason }) => reason),
      ['kicked', 'sent_away'],
    );
    await start(page, '/named?user=u7', {}, 'b');
    await until('the other to stop, too', async () => (await look(page, 'b')).state === 'closed');
    assert.deepEqual((await look(page, 'b')).infos, []);
  });

  check('with resume a reload goes on where the page was', async ({ tab, daemon, line }) => {
    const page = await tab();
    await start(page, '/open?topic=news', { resume: true });
    await opened(page);
    await daemon.publish(1);
    await until('the event', async () => (await look(page)).data.length);
    await page.go(`${line.origin}/other`);
    await daemon.publish(2);
    await page.go(`${line.origin}/`);
    await start(page, '/open?topic=news', { resume: true });
    await until('what was missed', async () => (await look(page)).data.length);
    const seen = await look(page);
    assert.deepEqual(seen.data, [2]);
    assert.equal(seen.infos[0].resumed, true);
  });

  check(
    'a page that comes out of the back/forward cache goes on, and has missed nothing',
    async ({ tab, daemon, line }) => {
      const page = await tab();
      await start(page, '/open?topic=news');
      await opened(page);
      await page.run('addEventListener("pageshow", ({ persisted }) => { globalThis.persisted = persisted; }), 0');
      await page.go(`${line.origin}/other`);
      await until('the stream to end', async () => (await daemon.streams()) === 0);
      await daemon.publish('meanwhile');
      await page.back();
      await until('the page', () => page.run('document.title === "page" && typeof door === "object"'));
      // It keeps no page that has a request open when it is left, whatever that page does in pagehide.
      if (engine === 'firefox') return assert.equal(await look(page), null);
      assert.equal(await page.run('globalThis.persisted'), true, 'it was not in the cache');
      await until('what was missed', async () => (await look(page)).data.length);
      const seen = await look(page);
      assert.deepEqual(seen.data, ['meanwhile']);
      // WebKit cuts what is open some time before it says that the page goes: it may try again meanwhile.
      const states = engine === 'webkit' ? seen.states.slice(-3) : seen.states.slice(2);
      assert.deepEqual(states, ['paused', 'connecting', 'open']);
    },
  );

  check('a page of another origin brings its token and its id', async ({ tab, daemon, line, application }) => {
    const page = await tab(`${application}/`);
    await start(page, `${line.origin}/jwt`, { token: '/long' });
    await opened(page);
    line.cut();
    await daemon.publish(1);
    await until('the event', async () => (await look(page)).data.length);
    await page.run(`door.do('a', "events.topics.add('room:7')")`);
    await daemon.publish(2, { topic: 'room:7' });
    await until('the other', async () => (await look(page)).data.length === 2);
    await page.run(`door.do('a', 'events.renew()')`);
    assert.deepEqual(
      (await look(page)).infos.map(({ resumed }) => resumed),
      [false, true],
    );
  });

  check('it works in a worker', async ({ tab, daemon, line }) => {
    const page = await tab();
    await page.run(`new Promise((opened) => {
      globalThis.worker = new Worker('/worker.js');
      globalThis.heard = [];
      worker.onmessage = ({ data }) => (data === 'open' ? opened(0) : heard.push(data));
      worker.postMessage('/open?topic=news');
    })`);
    await daemon.publish(1);
    await until('the event', async () => (await page.run('heard')).length === 1);
    line.cut();
    await daemon.publish(2);
    await until('what was missed', async () => (await page.run('heard')).length === 2);
    assert.deepEqual(await page.run('heard'), [1, 2]);
    await page.run(`worker.postMessage(''), 0`);
    await until('the stream to end', async () => (await daemon.streams()) === 0);
  });

  check('nothing is left after unsubscribe', async ({ tab, daemon }) => {
    const page = await tab();
    await start(page, '/open?topic=news');
    await opened(page);
    await page.run(`door.do('a', 'events.unsubscribe()')`);
    await until('the stream to end', async () => (await daemon.streams()) === 0);
    await page.run(`dispatchEvent(new Event('online')), dispatchEvent(new Event('pageshow')), 0`);
    await daemon.publish(1);
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal(await daemon.streams(), 0);
    assert.deepEqual((await look(page)).data, []);
  });

  return check;
}
