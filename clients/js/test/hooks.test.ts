// React, Vue and Svelte in Chromium, with the real daemon; rendering on a server in Node.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createElement, StrictMode } from 'react';
import { renderToString } from 'react-dom/server';
import { createSSRApp } from 'vue';
import { renderToString as renderVue } from 'vue/server-renderer';
import { SSEProvider, useSSE } from '@sidestream/client/react';
import { useSSE as useVue } from '@sidestream/client/vue';
import { sse } from '@sidestream/client/svelte';
import type { Tab } from './support/browsers.js';
import { parts } from './support/suite.js';
import { until } from './support/until.js';

const check = parts('chromium', ['react', 'vue']);
const chat = (page: Tab, options: object) => page.run(`app.chat(${JSON.stringify(options)}), 0`);
const shows = (page: Tab, text: string) =>
  until(
    `the page to show ${text}`,
    async () => (await page.run<string>('app.text()')).replace(/\s+/g, ' ').trim() === text,
  ).catch(async (error) => {
    throw new Error(`${error.message}; it shows ${await page.run('app.text()')}`);
  });
/** Nobody was warned of anything. */
const quiet = async (page: Tab) => assert.deepEqual(await page.run('page.complaints'), []);

check('react: in StrictMode one request opens one stream, and what arrives is shown', async ({ tab, daemon, line }) => {
  const page = await tab(`${line.origin}/react`);
  await chat(page, { url: '/open?topic=news' });
  await shows(page, 'connected undefined fine');
  for (const n of [1, 2, 3]) await daemon.publish(n);
  await shows(page, 'connected 1,2,3 3 fine');
  assert.deepEqual(await page.run('page.requests'), ['GET ?topic=news']);
  assert.equal(await daemon.streams(), 1);
  await page.run('page.sse.clearEvents(), 0');
  await shows(page, 'connected undefined fine');
  await page.run('app.unmount(), 0');
  await until('the stream to end', async () => (await daemon.streams()) === 0);
  await quiet(page);
});

check('react: what is written inline does not reconnect, and is never stale', async ({ tab, daemon, line }) => {
  const page = await tab(`${line.origin}/react`);
  for (let version = 0; version < 20; version++)
    await chat(page, { url: '/open?topic=news', version, token: undefined });
  await shows(page, 'connected undefined fine');
  await chat(page, { url: '/open?topic=news', version: 20 });
  await daemon.publish('hi');
  await shows(page, 'connected hi hi fine');
  await chat(page, { url: '/open?topic=news', version: 21 });
  line.cut();
  await until('the second request', async () => (await page.run('page.requests')).length === 2);
  await shows(page, 'connected hi hi fine');
  const log: any[] = await page.run('page.log');
  assert.deepEqual(
    log.filter(([, version]) => version === 20),
    [
      ['on', 20, 'hi'],
      ['onMessage', 20, 'hi'],
    ],
  );
  assert.deepEqual(
    log.filter(([kind]) => kind === 'onClose'),
    [['onClose', 21, 'network']],
  );
  await quiet(page);
});

check('react: another url is another stream, and the old one delivers no more', async ({ tab, daemon, line }) => {
  const page = await tab(`${line.origin}/react`);
  await chat(page, { url: '/open?topic=a' });
  await shows(page, 'connected undefined fine');
  await chat(page, { url: '/open?topic=b' });
  await until('the second request', async () => (await page.run('page.requests')).length === 2);
  await shows(page, 'connected undefined fine');
  await daemon.publish('to a', { topic: 'a' });
  await daemon.publish('to b', { topic: 'b' });
  await shows(page, 'connected to b to b fine');
  assert.equal(await daemon.streams(), 1);
  await chat(page, { url: null });
  await shows(page, 'closed to b to b fine');
  await quiet(page);
});

check(
  'react: connect and disconnect, autoConnect, and an end after so many failures',
  async ({ tab, daemon, line }) => {
    const page = await tab(`${line.origin}/react`);
    await chat(page, { url: '/open?topic=news', autoConnect: false, maxReconnectAttempts: 3 });
    await shows(page, 'closed undefined fine');
    assert.deepEqual(await page.run('page.requests'), []);
    await page.run('page.sse.connect(), 0');
    await shows(page, 'connected undefined fine');
    await page.run('page.sse.disconnect(), 0');
    await shows(page, 'closed undefined fine');
    await until('the stream to end', async () => (await daemon.streams()) === 0);
    line.refusing = true;
    line.cut();
    await page.run('page.sse.connect(), 0');
    await shows(page, 'closed undefined network');
    const errors = (await page.run<any[]>('page.log')).filter(([kind]) => kind === 'onError');
    assert.deepEqual(errors, [
      ['onError', 1, false],
      ['onError', 2, false],
      ['onError', 3, false],
      ['onError', 4, true],
    ]);
    line.refusing = false;
    await page.run('page.sse.connect(), 0');
    await shows(page, 'connected undefined fine');
    await quiet(page);
  },
);

check('react: unmounted at any moment, it leaves nothing', async ({ tab, daemon, line }) => {
  const page = await tab(`${line.origin}/react`);
  for (const ms of [0, 1, 5, 20, 60]) {
    await chat(page, { url: '/open?topic=news' });
    await new Promise((resolve) => setTimeout(resolve, ms));
    await page.run('app.unmount(), 0');
  }
  const renders = await page.run('page.renders');
  await until('the streams to end', async () => (await daemon.streams()) === 0);
  await daemon.publish(1);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(await page.run('page.renders'), renders);
  await quiet(page);
});

check('react: a provider serves events and presence to all within', async ({ tab, daemon, line }) => {
  const page = await tab(`${line.origin}/react`);
  await page.run(`app.room({ url: '/open?topic=news&topic=presence' }), 0`);
  await shows(page, 'true undefined 0 u1+u2 false');
  await daemon.publish('hi');
  await daemon.publish('ho');
  await shows(page, 'true ho 2 u1+u2 false');
  await daemon.publish({ user: 'u9', at: 'now' }, { topic: 'presence', event: 'user:online' });
  await daemon.publish({ user: 'u1', at: 'now' }, { topic: 'presence', event: 'user:offline' });
  await shows(page, 'true ho 2 u2+u9 true');
  assert.equal((await page.run<string[]>('page.requests')).length, 1);
  await quiet(page);
});

check('react: a topic of presence is on the stream while a component needs it', async ({ tab, daemon, line }) => {
  const page = await tab(`${line.origin}/react`);
  await page.run(
    `fetch('/long').then((answer) => answer.text()).then((token) => app.room({ url: '/jwt', topic: 'room:7', headers: { authorization: 'Bearer ' + token } }))`,
  );
  await shows(page, 'true undefined 0 u1+u2 false');
  await until(
    'the topic',
    async () => (await daemon.request('GET', '/connections?topic=room:7')).connections.length === 1,
  );
  await daemon.publish({ user: 'u9', at: 'now' }, { topic: 'room:7', event: 'user:online' });
  await shows(page, 'true undefined 0 u1+u2+u9 true');
  line.cut();
  await until(
    'it to be there again',
    async () =>
      (await daemon.request('GET', '/connections?topic=room:7')).connections.length === 1 &&
      (await daemon.streams()) === 1,
  );
  await page.run(`app.without(), 0`);
  await until(
    'it to be gone',
    async () => (await daemon.request('GET', '/connections?topic=room:7')).connections.length === 0,
  );
  assert.equal(await daemon.streams(), 1);
  await quiet(page);
});

check('react: what a server rendered is taken over as it is', async ({ tab, line }) => {
  const page = await tab(`${line.origin}/react`);
  await page.run(
    `app.hydrate('<p id="chat">closed<!-- --> <!-- --> <!-- -->undefined<!-- --> <!-- -->fine</p>', { url: '/open?topic=news' }), 0`,
  );
  await shows(page, 'connected undefined fine');
  await quiet(page);
});

check('vue: composables open, follow the url, share and close', async ({ tab, daemon, line }) => {
  const page = await tab(`${line.origin}/vue`);
  await page.run(`vue.mount('/open?topic=a&topic=presence')`);
  const text = (expected: string) =>
    until(`the page to show ${expected}`, async () => (await page.run('vue.text()')) === expected);
  await text('true  fine undefined u1');
  await daemon.publish('hi', { topic: 'a' });
  await daemon.publish({ user: 'u9' }, { topic: 'presence', event: 'user:online' });
  await text('true hi,[object Object] fine hi u1+u9');
  await page.run(`vue.go('/open?topic=b&topic=presence')`);
  await until(
    'the new stream alone',
    async () =>
      (await daemon.request('GET', '/connections?topic=b')).connections.length === 1 && (await daemon.streams()) === 1,
  );
  await page.run('vue.unmount()');
  await until('the stream to end', async () => (await daemon.streams()) === 0);
});

check('svelte: stores are connected while somebody is subscribed', async ({ tab, daemon, line }) => {
  const page = await tab(`${line.origin}/vue`);
  await page.run(`svelte.start('/open?topic=news')`);
  await until('it to open', async () => (await page.run('svelte.stores.text')) === 'true ');
  await daemon.publish('hi');
  await until('the event', async () => (await page.run('svelte.stores.event')) === 'hi');
  assert.equal(await page.run('svelte.stores.users'), 'u1');
  assert.equal(await daemon.streams(), 1);
  await page.run('svelte.stop()');
  await until('the stream to end', async () => (await daemon.streams()) === 0);
});

test('hooks: rendering on a server asks for nothing', async (t) => {
  const asked = t.mock.method(globalThis, 'fetch', () => Promise.reject(new Error('a server does not ask')));
  const complaints = [t.mock.method(console, 'error', () => {}), t.mock.method(console, 'warn', () => {})];
  const Page = () => createElement('p', null, useSSE({ url: '/events' }).state);
  const Within = () => createElement('p', null, useSSE().state);
  const html = renderToString(
    createElement(
      StrictMode,
      null,
      createElement(Page),
      createElement(SSEProvider, { url: '/events' }, createElement(Within)),
    ),
  );
  assert.equal(html, '<p>closed</p><p>closed</p>');
  const vue = await renderVue(
    createSSRApp({
      setup() {
        const { isConnected } = useVue({ url: '/events' });
        return () => String(isConnected.value);
      },
    }),
  );
  assert.equal(vue, 'false');
  let state: unknown;
  sse({ url: '/events' }).subscribe((value) => (state = value.state))();
  assert.equal(state, 'closed');
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(asked.mock.callCount(), 0);
  for (const each of complaints) assert.equal(each.mock.callCount(), 0);
});
