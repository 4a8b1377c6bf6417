// One Chromium for all examples; each test has pages of its own.
import { mkdir } from 'node:fs/promises';
import { chromium } from 'playwright-core';
import { seriousFindings } from '../axe.mjs';
import { executablePath } from '../chromium.mjs';

let browser;

export async function openBrowser() {
  browser = await chromium.launch({
    executablePath,
    chromiumSandbox: false, // it refuses root, as which containers run tests
    args: ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
  });
}

export const closeBrowser = () => browser.close();

const pages = new WeakMap(); // test → its pages

/** A page with cookies and storage of its own. An error in its scripts fails the test. */
export async function openPage(test, url) {
  const context = await browser.newContext({ viewport: { width: 760, height: 560 } });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.streamed = [];
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(error));
  pages.set(test, [...(pages.get(test) ?? []), page]);
  const devtools = await context.newCDPSession(page);
  await devtools.send('Network.enable');
  devtools.on('Network.eventSourceMessageReceived', (event) => page.streamed.push(event));
  await page.goto(url);
  return page;
}

/** Closes the pages of a test, before its app ends. */
export async function closePages(test) {
  const errors = [];
  for (const page of pages.get(test) ?? []) {
    errors.push(...page.errors);
    await page.context().close();
  }
  if (errors.length > 0) throw new AggregateError(errors, `a script of the page failed: ${errors.join('; ')}`);
}

/** Waits until these are the texts, in this order. */
export async function shows(page, selector, texts) {
  await page
    .waitForFunction(
      ([selector, texts]) => {
        const shown = [...document.querySelectorAll(selector)].map((element) => element.textContent.trim());
        return JSON.stringify(shown) === texts;
      },
      [selector, JSON.stringify(texts)],
    )
    .catch(async (error) => {
      const shown = await page.locator(selector).allTextContents();
      throw new Error(`${selector} shows ${JSON.stringify(shown)}, not ${JSON.stringify(texts)}`, { cause: error });
    });
}

/** Fails when axe-core has a serious finding in one of the schemes. */
export async function isAccessible(page) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    const found = await seriousFindings(page);
    if (found.length > 0) throw new Error(`axe-core finds, ${colorScheme}: ${found.join('; ')}`);
  }
}

/** Pictures for people to look at, where SIDESTREAM_SCREENSHOTS names a folder: two widths, both schemes. */
export async function photograph(page, name) {
  const folder = process.env.SIDESTREAM_SCREENSHOTS;
  if (!folder) return;
  await mkdir(folder, { recursive: true });
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    for (const [width, height] of [[375, 700], [1280, 800]]) {
      await page.setViewportSize({ width, height });
      await page.screenshot({ path: `${folder}/${name.replaceAll('/', '-')}-${width}-${colorScheme}.png` });
    }
  }
}
