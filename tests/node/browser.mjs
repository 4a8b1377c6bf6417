// Chromium with a page or several, driven by JSON lines: `{"do": "click", "selector": "#send"}` on stdin, `{"done": …}` or
// `{"failed": "why"}` on stdout. Arguments: an empty folder for the browser's profile, and `any-certificate` to take the
// certificates of tests. Ends when its stdin does.
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import { seriousFindings } from './axe.mjs';
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
// What the browsers' own EventSource received, before any script of a page saw it; what the pages asked for; and what they
// complained of.
const streamed = [];
const requested = [];
const complaints = [];

/** Tabs in the order in which they were first asked for. */
const tabs = [];
let page;

async function tab({ number = 0 }) {
  if (!tabs[number]) {
    tabs[number] = number === 0 ? (context.pages()[0] ?? (await context.newPage())) : await context.newPage();
    await watch(tabs[number]);
  }
  page = tabs[number];
  await page.bringToFront();
}

async function watch(page) {
  page.setDefaultTimeout(15_000);
  page.on('pageerror', (error) => {
    console.error(`page: ${error}`);
    complaints.push(String(error));
  });
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  const devtools = await context.newCDPSession(page);
  await devtools.send('Network.enable');
  devtools.on('Network.eventSourceMessageReceived', ({ eventName, eventId, data }) =>
    streamed.push({ event: eventName, id: eventId, data }),
  );
  page.on('request', (request) => requested.push(`${request.method()} ${new URL(request.url()).pathname}`));
}

await tab({});

const commands = {
  tab,
  open: ({ url }) => page.goto(url),
  fill: ({ selector, text }) => page.fill(selector, text),
  select: ({ selector, value }) => page.selectOption(selector, value),
  press: ({ key }) => page.keyboard.press(key),
  click: ({ selector }) => page.click(selector),
  wait: ({ selector }) => page.waitForSelector(selector),
  texts: ({ selector }) => page.locator(selector).allTextContents(),
  streamed: () => streamed,
  requested: () => requested,
  complaints: () => complaints,
  axe: () => seriousFindings(page),
  // Of a page that is wider than its window, both widths.
  size: async ({ width, height }) => {
    await page.setViewportSize({ width, height });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    return wide > width ? [String(wide), String(width)] : [];
  },
  media: ({ scheme, motion }) => page.emulateMedia({ colorScheme: scheme, reducedMotion: motion }),
  evaluate: async ({ script }) => [await page.evaluate(script)],
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
