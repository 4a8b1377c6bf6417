// The two on Express. What they promise in detail is tested by `tests/it`; here they start by their own command.
import { after, before, test } from 'node:test';
import { closeBrowser, isAccessible, openBrowser, openPage, photograph, shows } from './browser.mjs';
import { freePort, install, start } from './example.mjs';

before(openBrowser);
after(closeBrowser);

test('examples/express: a message arrives in another window, by the PUBLISH that the app sends anyway', async (test) => {
  await install('express');
  const app = await start(test, 'express', { REDIS_PORT: `${await freePort()}` });
  const reader = await openPage(test, app.url);
  const writer = await openPage(test, app.direct);
  await reader.waitForSelector('#state.live');
  await writer.fill('#text', 'hello');
  await writer.click('#send');
  await shows(reader, '#messages p', ['hello']);

  app.wire.cut();
  await reader.waitForSelector('#state.reconnecting');
  await writer.fill('#text', 'missed');
  await writer.click('#send');
  await shows(writer, '#messages p', ['hello', 'missed']);
  app.wire.mend();
  await shows(reader, '#messages p', ['hello', 'missed']);
  await isAccessible(reader);
  await photograph(reader, 'express');
});

test('examples/express-session: notes reach the team, by cookie and by ticket', async (test) => {
  await install('express-session');
  const app = await start(test, 'express-session');
  const pages = {};
  for (const [name, button] of [['ada', '#listen'], ['eve', '#listen-by-ticket'], ['bob', '#listen']]) {
    const page = (pages[name] = await openPage(test, app.url));
    await page.fill('#name', name);
    await page.click('#login');
    await page.waitForSelector('#state.in');
    await page.click(button);
    await page.waitForSelector('#state.live');
  }
  const note = async (team, text) => {
    await pages.eve.fill('#team', team);
    await pages.eve.fill('#text', text);
    await pages.eve.click('#send');
  };
  await note('blue', 'for blue');
  await shows(pages.ada, '#notes p', ['eve: for blue']);

  app.wire.cut();
  for (const name of ['ada', 'eve', 'bob']) await pages[name].waitForSelector('#state.reconnecting');
  app.wire.mend();
  for (const name of ['ada', 'eve', 'bob']) await pages[name].waitForSelector('#state.live');
  await note('red', 'for red');
  await shows(pages.bob, '#notes p', ['eve: for red']);
  await shows(pages.eve, '#notes p', ['eve: for blue', 'eve: for red']);
  await shows(pages.ada, '#notes p', ['eve: for blue']);
  await photograph(pages.eve, 'express-session');
});
