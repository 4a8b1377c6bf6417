// The designs that sidestream replaces, before and after: the same test for both. Only what is lost with the one and
// resumed with the other differs.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { closeBrowser, isAccessible, openBrowser, openPage, photograph, shows } from './browser.mjs';
import { install, start } from './example.mjs';

before(openBrowser);
after(closeBrowser);

/** Runs the same for the app as it was and as it is with sidestream. */
function migration(name, what, run) {
  for (const version of ['before', 'after']) {
    const folder = `migrations/${name}/${version}`;
    test(`examples/${folder}: ${what}`, async (test) => {
      await install(folder);
      await run(test, await start(test, folder), version);
    });
  }
}

migration('chat-by-conversation', 'members hear a conversation, and nobody else does', async (test, app, version) => {
  const login = async (url, user, conversation) => {
    const page = await openPage(test, url);
    await page.fill('#user', user);
    await page.fill('#conversation', conversation);
    await page.click('#login');
    return page;
  };
  const bob = await login(app.url, 'bob', 'tea');
  await bob.waitForSelector('#state.live');
  const cake = await login(app.direct, 'eve', 'cake');
  await cake.waitForSelector('#state.live');
  const ada = await login(app.direct, 'ada', 'tea');
  await ada.waitForSelector('#state.live');
  await shows(ada, '#members', ['ada: online, bob: online']);
  const stranger = await login(app.direct, 'ada', 'cake');
  await stranger.waitForSelector('#state.refused');

  const all = await login(app.direct, 'bob', '');
  await all.waitForSelector('#state.live');

  const write = async (text) => {
    await ada.fill('#text', text);
    await ada.click('#send');
    await ada.waitForFunction(() => document.querySelector('#text').value === '');
  };
  await ada.fill('#text', 'h');
  await shows(bob, '#typing', ['ada is writing']);
  await write('hello');
  await shows(bob, '#messages p', ['hello']);
  await shows(ada, '#messages p', ['hello']);

  app.wire.cut();
  await bob.waitForSelector('#state.reconnecting');
  await write('missed?');
  app.wire.mend();
  await bob.waitForSelector('#state.live');
  await write('after the cut');
  await shows(bob, '#messages p', ['hello', 'missed?', 'after the cut']);
  await shows(cake, '#messages p', []);
  await shows(all, '#messages p', ['hello', 'missed?', 'after the cut']);

  // Before, the page had to ask for what it missed; now the stream has it.
  const heard = bob.streamed.filter(({ eventName }) => eventName === 'message:new').map(({ data }) => JSON.parse(data).text);
  assert.deepEqual(heard, version === 'before' ? ['hello', 'after the cut'] : ['hello', 'missed?', 'after the cut']);
  await isAccessible(bob);
  await photograph(bob, `chat-by-conversation-${version}`);
});

migration('user-notifications', 'users hear what is for them, by a token in a cookie, the query or a header', async (test, app, version) => {
  const login = async (url, user, way) => {
    const page = await openPage(test, url);
    await page.fill('#user', user);
    await page.selectOption('#way', way);
    await page.click('#login');
    await page.waitForSelector('#state.live');
    return page;
  };
  assert.equal((await fetch(`${app.direct}/api/events`)).status, 401);
  assert.equal((await fetch(`${app.direct}/api/events?token=forged`)).status, 401);
  const bob = await login(app.url, 'bob', 'query');
  const eve = await login(app.direct, 'eve', 'header');
  const ada = await login(app.direct, 'ada', 'cookie');
  await shows(ada, '#users', ['ada: online, bob: online, eve: online']);

  const send = async (to, text) => {
    await ada.fill('#to', to);
    await ada.fill('#text', text);
    await ada.click('#send');
    await ada.waitForFunction(() => document.querySelector('#text').value === '');
  };
  await send('bob, eve', 'for both');
  await send('eve', 'for eve');
  await shows(eve, '#notifications p', ['for both', 'for eve']);
  await shows(bob, '#notifications p', ['for both']);

  app.wire.cut();
  await bob.waitForSelector('#state.reconnecting');
  await send('bob', 'missed?');
  app.wire.mend();
  await bob.waitForSelector('#state.live');
  await send('bob', 'after the cut');
  // Before, nobody ever learned of it.
  const missed = version === 'before' ? [] : ['missed?'];
  await shows(bob, '#notifications p', ['for both', ...missed, 'after the cut']);
  await shows(ada, '#notifications p', []);
  await isAccessible(bob);
  await photograph(bob, `user-notifications-${version}`);
});

migration('broadcast-sync', 'a change of one page is in all others', async (test, app, version) => {
  const [reader, writer] = [await openPage(test, app.url), await openPage(test, app.direct)];
  for (const page of [reader, writer]) await page.waitForSelector('#state.live');
  const add = async (text) => {
    await writer.fill('#text', text);
    await writer.click('#add');
  };
  await add('buy tea');
  await shows(reader, '#todos label', ['buy tea']);
  await reader.check('#todos label:has-text("buy tea") input');
  await writer.waitForSelector('#todos label:has-text("buy tea") input:checked');

  app.wire.cut();
  await reader.waitForSelector('#state.reconnecting');
  await add('bake a cake');
  app.wire.mend();
  await reader.waitForSelector('#state.live');
  await shows(reader, '#todos label', ['buy tea', 'bake a cake']);
  await add('wash up');
  await shows(reader, '#todos label', ['buy tea', 'bake a cake', 'wash up']);

  // What was missed: by the stream only after. Before, by loading everything again.
  const heard = reader.streamed.map(({ data }) => JSON.parse(data).todo?.text);
  assert.equal(heard.includes('bake a cake'), version === 'after');
  assert.equal(heard.includes('wash up'), true);
  await isAccessible(reader);
  await photograph(reader, `broadcast-sync-${version}`);
});

migration('sse-manager', 'users, sessions and everybody hear what is for them, by the app\'s own hook', async (test, app, version) => {
  const open = async (url, userId, sessionId) => {
    const page = await openPage(test, `${url}/?userId=${userId}&sessionId=${sessionId}`);
    await page.waitForSelector('#state.live');
    return page;
  };
  const desk = await open(app.url, 'ada', 's1');
  const laptop = await open(app.direct, 'ada', 's2');
  const bob = await open(app.direct, 'bob', 's3');
  const tell = async (whom, text) => {
    await laptop.fill('#text', text);
    await laptop.click(`#to-${whom}`);
  };
  await tell('user', 'for all of my sessions');
  await tell('session', 'for this session');
  await tell('all', 'for everybody');
  await shows(laptop, '#events p', ['for all of my sessions', 'for this session', 'for everybody']);
  await shows(desk, '#events p', ['for all of my sessions', 'for everybody']);
  await shows(bob, '#events p', ['for everybody']);
  await shows(desk, '#last', ['announcement']);

  await laptop.click('#clear');
  await shows(laptop, '#events p', []);
  await bob.click('#disconnect');
  await bob.waitForSelector('#state.offline');
  await laptop.click('#refresh');
  await shows(laptop, '#total', ['2']);
  await bob.click('#connect');
  await bob.waitForSelector('#state.live');

  app.wire.cut();
  await desk.waitForSelector('#state.reconnecting');
  await tell('user', 'missed?');
  await shows(laptop, '#events p', ['missed?']);
  app.wire.mend();
  await desk.waitForSelector('#state.live');
  await tell('user', 'after the cut');
  // The app's own hook begins anew at each reconnect, with the one as with the other.
  await shows(desk, '#events p', ['for all of my sessions', 'for everybody', 'after the cut']);
  await isAccessible(desk);
  await photograph(desk, `sse-manager-${version}`);
});

migration('nestjs-events', 'typed events reach everybody or a user, and the endpoints count', async (test, app, version) => {
  const open = async (url, userId) => {
    const page = await openPage(test, `${url}/?userId=${userId}`);
    await page.waitForSelector('#state.live');
    return page;
  };
  assert.equal((await fetch(`${app.direct}/events/stream`)).status, 400);
  const bob = await open(app.url, 'bob');
  const ada = await open(app.direct, 'ada');
  await ada.click('#refresh');
  await shows(ada, '#who', ['ada, bob']);
  await shows(ada, '#connections', ['2']);

  const order = async (what) => {
    await bob.fill('#what', what);
    await bob.click('#order');
  };
  await order('tea');
  await order('cake');
  await shows(ada, '#orders p', ['tea', 'cake']);
  await shows(bob, '#orders p', ['tea', 'cake']);
  await ada.click('#order-1 .pay');
  await shows(bob, '#order-1 time', ['paid']);
  await shows(ada, '#orders time', []); // told to the one who ordered

  app.wire.cut();
  await bob.waitForSelector('#state.reconnecting');
  await ada.click('#order-2 .pay');
  app.wire.mend();
  await bob.waitForSelector('#state.live');
  await shows(bob, '#orders time', ['paid', 'paid']);

  // What was missed: by the stream only after. Before, by loading everything again.
  const paid = bob.streamed.map(({ data }) => JSON.parse(data)).filter(({ type }) => type === 'order.paid');
  assert.deepEqual(paid.map(({ data }) => data.id), version === 'before' ? [1] : [1, 2]);
  await isAccessible(bob);
  await photograph(bob, `nestjs-events-${version}`);
});
