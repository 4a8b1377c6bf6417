// One connection for all tabs, whatever becomes of the one that holds it.

import assert from 'node:assert/strict';
import type { Engine, Tab } from './browsers.js';
import { look, numbers, opened, start, type parts } from './suite.js';
import { until } from './until.js';

/** Pages let go of a connection when they reload: what is asked has to be so for a while. */
const settled = (what: string, so: () => Promise<boolean>) =>
  until(what, async () => {
    for (let n = 0; n < 3; n++) if (!(await so())) return false;
    return true;
  });

export function shared(engine: Engine, check: ReturnType<typeof parts>) {
  const open = async (page: Tab, options: object = {}, url = '/open?topic=news') => {
    await start(page, url, { share: 'news', ...options });
    await opened(page);
  };

  check('tabs: one connection serves them all, and each gets every event', async ({ tab, daemon }) => {
    const pages = [];
    for (const _ of numbers(3)) {
      const page = await tab();
      await open(page);
      pages.push(page);
    }
    assert.equal(await daemon.streams(), 1);
    for (const n of numbers(20)) await daemon.publish(n);
    for (const page of pages) await until('all events', async () => (await look(page)).data.length === 20);
    const seen = await Promise.all(pages.map((page) => look(page)));
    for (const each of seen) {
      assert.deepEqual(each.data, numbers(20));
      assert.equal(each.client, seen[0]!.client);
      assert.deepEqual(each.states, ['connecting', 'open']);
    }
  });

  /** Publishes all the while something happens to the first of three tabs; the others lose and repeat nothing. */
  const survives = (
    name: string,
    happens: (first: Tab, last: Tab) => Promise<unknown>,
    then?: (first: Tab) => Promise<void>,
  ) =>
    check(`tabs: ${name}`, async ({ tab, daemon }) => {
      const pages: Tab[] = [];
      for (const _ of numbers(3)) {
        const page = await tab();
        await open(page);
        pages.push(page);
      }
      const [first, ...others] = pages as [Tab, Tab, Tab];
      let sent = 0;
      let over = false;
      const publishing = (async () => {
        while (!over || sent < 40) {
          await daemon.publish(sent++);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      })();
      await until('some events', async () => (await look(others[0])).data.length > 5);
      const before = (await look(others[0])).client;
      await happens(first, others[1]);
      await until(
        'another to lead',
        async () => {
          const { state, client } = await look(others[0]);
          return state === 'open' && client !== before;
        },
        10_000,
      );
      over = true;
      await publishing;
      for (const page of others) await until('all events', async () => (await look(page)).data.length >= sent);
      for (const page of others) {
        const { data, resets } = await look(page);
        assert.deepEqual(data, numbers(sent));
        assert.deepEqual(resets, []);
      }
      await settled('one connection', async () => (await daemon.streams()) === 1);
      if (!then) return;
      await then(first);
      await daemon.publish(sent++);
      await until('the first to have all, too', async () => (await look(first)).data.length >= sent, 10_000);
      assert.deepEqual((await look(first)).data, numbers(sent));
      await settled('one connection', async () => (await daemon.streams()) === 1);
    });

  survives('a leader that is closed hands over', (first) => first.close());
  survives('a leader that goes elsewhere hands over', async (first) => {
    const url = await first.run<string>('location.origin');
    await first.go(`${url}/other`);
  });
  survives('a leader that unsubscribes hands over', (first) => first.run(`door.do('a', 'events.unsubscribe()')`));
  if (engine === 'chromium') {
    // In the two others the tabs of an origin share a thread, and hang together.
    survives(
      'a leader that hangs is relieved, and has lost nothing when it comes to itself',
      async (first, last) => {
        // No timer: those of hidden tabs run late.
        const hang = '{ const end = Date.now() + 6_000; while (Date.now() < end); }';
        await first.run(
          `(() => { const { port1, port2 } = new MessageChannel(); port1.onmessage = () => ${hang}; port2.postMessage(0); })(), 0`,
        );
        // Somebody turns to another tab.
        await last.run(`document.dispatchEvent(new Event('visibilitychange')), 0`);
      },
      async (first) => {
        await until('it to come to itself', async () => (await look(first)).state === 'open', 10_000);
      },
    );
    survives('a leader that crashes hands over', async (first) => {
      const session = await first.page!.createCDPSession();
      void session.send('Page.crash').catch(() => {});
    });
    survives(
      'a leader that is frozen hands over, and goes on behind what it has',
      async (first) => {
        const session = await first.page!.createCDPSession();
        await session.send('Page.setWebLifecycleState', { state: 'frozen' });
      },
      async (first) => {
        const session = await first.page!.createCDPSession();
        await session.send('Page.setWebLifecycleState', { state: 'active' });
      },
    );
    survives(
      'a leader in the back/forward cache hands over, and goes on behind what it has',
      async (first) => {
        const url = await first.run<string>('location.origin');
        await first.go(`${url}/other`);
      },
      async (first) => {
        await first.back();
        await until('the page', () => first.run('document.title === "page" && typeof door === "object"'));
        assert.ok(await look(first), 'it was not in the cache');
      },
    );
  }

  check("tabs: a cut is everybody's, and nobody misses anything", async ({ tab, daemon, line }) => {
    const [one, two] = [await tab(), await tab()];
    for (const page of [one, two]) await open(page);
    for (const n of numbers(40)) {
      await daemon.publish(n);
      if (n === 10) line.cut();
    }
    for (const page of [one, two]) {
      await until('all events', async () => (await look(page)).data.length >= 40);
      const { data, errors, ends } = await look(page);
      assert.deepEqual(data, numbers(40));
      assert.ok(errors.length >= 1 && errors[0].kind === 'network');
      assert.ok(ends.length >= 1);
    }
  });

  check('tabs: a tab that comes later begins where the others are, or behind its own id', async ({ tab, daemon }) => {
    const one = await tab();
    await open(one);
    const first = await daemon.publish(0);
    for (const n of [1, 2]) await daemon.publish(n);
    await until('the events', async () => (await look(one)).data.length === 3);
    const two = await tab();
    await open(two);
    const three = await tab();
    await open(three, { lastEventId: first });
    const four = await tab();
    await open(four, { lastEventId: '1-0-aaaaaa' });
    await daemon.publish(3);
    for (const page of [one, two, three, four])
      await until('the last', async () => (await look(page)).data.at(-1) === 3);
    assert.deepEqual((await look(two)).data, [3]);
    assert.deepEqual((await look(three)).data, [1, 2, 3]);
    assert.deepEqual((await look(four)).resets, [{ reason: 'tabs' }]);
    assert.deepEqual((await look(two)).resets, []);
    assert.equal(await daemon.streams(), 1);
  });

  check('tabs: topics and renewals go through whoever leads', async ({ tab, daemon }) => {
    const [one, two] = [await tab(), await tab()];
    for (const page of [one, two]) await open(page, { token: '/long' }, '/jwt');
    await two.run(`door.do('a', "events.topics.add('room:7')")`);
    await daemon.publish('room', { topic: 'room:7' });
    for (const page of [one, two]) await until('the event', async () => (await look(page)).data.length);
    await two.run(`door.do('a', 'events.renew()')`);
    await assert.rejects(two.run(`door.do('a', "events.topics.add('secret')")`));
    await one.close();
    await until('the reset', async () => (await look(two)).resets.length, 10_000);
    await daemon.publish('again', { topic: 'room:7' });
    await until('the event', async () => (await look(two)).data.length === 2);
    assert.equal(await daemon.streams(), 1);
  });

  check('tabs: who is sent away stays away in all of them', async ({ tab, daemon }) => {
    const [one, two] = [await tab(), await tab()];
    for (const page of [one, two]) await open(page, {}, '/named?user=u7');
    const { client } = await look(one);
    await daemon.request('DELETE', `/connections/${client}?reconnect=false`);
    for (const page of [one, two]) await until('it to stop', async () => (await look(page)).state === 'closed');
    await one.close();
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(await daemon.streams(), 0);
    await two.run(`door.do('a', 'events.renew()')`);
    await opened(two);
  });
}
