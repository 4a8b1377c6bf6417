// Chromium with one page, driven by JSON lines: `{"do": "click", "selector": "#send"}` on stdin, `{"done": …}` or
// `{"failed": "why"}` on stdout. Arguments: an empty folder for the browser's profile, and `any-certificate` to take the
// certificates of tests. Ends when its stdin does.
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import { executablePath } from './chromium.mjs';

const context = await chromium.launchPersistentContext(process.argv[2], {
  executablePath,
  headless: true,
  ignoreHTTPSErrors: process.argv[3] === 'any-certificate',
  chromiumSandbox: false, // it refuses root, as which containers run tests
  viewport: { width: 760, height: 560 },
  args: [
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
const page = context.pages()[0] ?? (await context.newPage());
page.setDefaultTimeout(15_000);
page.on('pageerror', (error) => console.error(`page: ${error}`));

// What the browser's own EventSource received, before any script of the page saw it; and what the page asked for.
const streamed = [];
const requested = [];
const devtools = await context.newCDPSession(page);
await devtools.send('Network.enable');
devtools.on('Network.eventSourceMessageReceived', ({ eventName, eventId, data }) =>
  streamed.push({ event: eventName, id: eventId, data }),
);
page.on('request', (request) => requested.push(`${request.method()} ${new URL(request.url()).pathname}`));

const commands = {
  open: ({ url }) => page.goto(url),
  fill: ({ selector, text }) => page.fill(selector, text),
  click: ({ selector }) => page.click(selector),
  wait: ({ selector }) => page.waitForSelector(selector),
  texts: ({ selector }) => page.locator(selector).allTextContents(),
  streamed: () => streamed,
  requested: () => requested,
  screenshot: ({ path }) => page.screenshot({ path }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  let answer;
  try {
    const done = await commands[command.do](command);
    answer = { done: Array.isArray(done) ? done : null };
  } catch (error) {
    answer = { failed: error.message };
  }
  console.log(JSON.stringify(answer));
}
await context.close();
