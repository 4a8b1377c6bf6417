// Pages whose server sends HTML, and pages made by a framework of the browser.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { closeBrowser, isAccessible, openBrowser, openPage, photograph, shows } from './browser.mjs';
import { install, start } from './example.mjs';

before(openBrowser);
after(closeBrowser);

for (const [folder, path] of [
  ['datastar', '/'],
  ['htmx', '/'],
  ['htmx', '/htmx-2'],
  ['turbo', '/'],
]) {
  test(`examples/${folder}, ${path}: what is written arrives in other windows, after a cut too`, async (test) => {
    await install(folder);
    const app = await start(test, folder);
    const said = [];
    const write = async (page, text) => {
      await page.fill('#text', text);
      await page.click('#send');
      said.push(text);
      await shows(page, '#messages p', said);
      await page.waitForFunction(() => document.querySelector('#text').value === '');
    };
    const writer = await openPage(test, app.direct + path);
    await app.streams(1);
    await write(writer, 'written before the reader came');

    // The page has it from the server, and its stream goes on behind it.
    const reader = await openPage(test, app.url + path);
    await app.streams(2);
    await shows(reader, '#messages p', said);
    await write(writer, 'written <b>while</b> both listen ✓');
    await shows(reader, '#messages p', said);

    app.wire.cut();
    await app.streams(1);
    for (const n of [1, 2, 3]) await write(writer, `written while the reader is cut off, ${n}`);
    assert.equal(await reader.locator('#messages p').count(), 2, 'the reader is cut off');
    app.wire.mend();
    await app.streams(2);
    await shows(reader, '#messages p', said);
    await write(reader, 'written by the reader, after the cut');
    await shows(writer, '#messages p', said);
    await isAccessible(reader);
    await photograph(reader, folder + path);
  });
}

test('examples/react: messages and typing arrive in other windows, messages after a cut too', async (test) => {
  await install('react');
  const app = await start(test, 'react');
  const [reader, writer] = [await openPage(test, app.url), await openPage(test, app.direct)];
  for (const page of [reader, writer]) await page.waitForSelector('#state.live');
  const said = [];
  const write = async (text) => {
    await writer.fill('#text', text);
    await writer.click('#send');
    said.push(text);
    await shows(writer, '#messages p', said);
  };
  await writer.fill('#author', 'ada');
  await writer.fill('#text', 'h');
  await shows(reader, '#typing', ['ada is writing']);
  await shows(writer, '#typing', ['']); // not to the one who writes
  await write('hello');
  await shows(reader, '#messages p', said);
  await shows(reader, '#typing', ['']);

  app.wire.cut();
  await reader.waitForSelector('#state:is(.reconnecting, .connecting)');
  await app.streams(1);
  for (const n of [1, 2, 3]) await write(`written while the reader is cut off, ${n}`);
  app.wire.mend();
  await reader.waitForSelector('#state.live');
  await shows(reader, '#messages p', said);
  await isAccessible(reader);
  await photograph(reader, 'react');
});

test('examples/vue: a job goes on in other windows, after a cut too', async (test) => {
  await install('vue');
  const app = await start(test, 'vue', { STEP: '100' });
  const [reader, writer] = [await openPage(test, app.url), await openPage(test, app.direct)];
  for (const page of [reader, writer]) await page.waitForSelector('#state.live');
  const begin = async (name) => {
    await writer.fill('#name', name);
    await writer.click('#start');
  };
  await begin('Monthly report');
  await shows(reader, '#jobs b', ['Monthly report']);

  app.wire.cut();
  await app.streams(1);
  await begin('Yearly report');
  await shows(writer, '#jobs .done', ['done', 'done']);
  await shows(reader, '#jobs b', ['Monthly report']);
  app.wire.mend();
  await shows(reader, '#jobs b', ['Monthly report', 'Yearly report']);
  await shows(reader, '#jobs .done', ['done', 'done']);

  await begin('Late report');
  await shows(reader, '#jobs b', ['Monthly report', 'Yearly report', 'Late report']);
  await isAccessible(reader);
  await photograph(reader, 'vue');
});
