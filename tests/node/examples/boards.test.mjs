// The board in several languages and frameworks, and the chat of Next.js: the same promises.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { closeBrowser, isAccessible, openBrowser, openPage, photograph, shows } from './browser.mjs';
import { install, start } from './example.mjs';

before(openBrowser);
after(closeBrowser);

for (const [folder, parameter = 'room', api = '/api/messages'] of [
  ['django'],
  ['fastapi'],
  ['flask'],
  ['go'],
  ['nestjs'],
  ['nextjs', 'conversationId', '/api/chat/messages'],
  ['php'],
  ['sinatra'],
]) {
  test(`examples/${folder}: what is written arrives in other windows, after a cut too`, async (test) => {
    await install(folder);
    const app = await start(test, folder);
    const room = `room-${Date.now()}`; // some of the boards outlive a run
    const page = `/?${parameter}=${room}`;
    const said = ['said before'];
    const answer = await fetch(app.direct + api, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ [parameter]: room, author: 'ada', text: said[0] }),
    });
    assert.equal(answer.status, 201);

    const reader = await openPage(test, app.url + page);
    const writer = await openPage(test, app.direct + page);
    const write = async (text) => {
      said.push(text);
      await writer.fill('#text', text);
      await writer.click('#send');
      await shows(writer, '#messages p', said);
    };
    for (const page of [reader, writer]) {
      await page.waitForSelector('#state.live');
      await shows(page, '#messages p', said);
    }

    await write('written <b>while</b> both listen ✓');
    await shows(reader, '#messages p', said);

    app.wire.cut();
    await reader.waitForSelector('#state.reconnecting');
    for (const n of [1, 2, 3]) await write(`written while the reader is cut off, ${n}`);
    app.wire.mend();
    await reader.waitForSelector('#state.live');
    await shows(reader, '#messages p', said);
    await write('written after the cut');
    await shows(reader, '#messages p', said);

    // By the stream, each once: the page would hide a second one.
    const streamed = reader.streamed.filter(({ eventName }) => eventName === 'message:new');
    assert.deepEqual(streamed.map(({ data }) => JSON.parse(data).text), said.slice(1));
    await isAccessible(reader);
    await photograph(reader, folder);
  });
}

test('a message that does not fit is refused by the app, and stays in the box', async (test) => {
  const app = await start(test, 'flask');
  const page = await openPage(test, app.url);
  await page.fill('#author', '   ');
  await page.fill('#text', 'by nobody');
  await page.click('#send');
  await shows(page, '#problem', ['Not sent: the app answered 400. Try again.']);
  assert.equal(await page.inputValue('#text'), 'by nobody');
});
