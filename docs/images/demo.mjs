// Makes docs/images/demo.webp, the picture of the demo in README.md, from a run of the demo itself: `node docs/images/demo.mjs`
// after `cargo build` and `make setup`. Needs `img2webp` (Debian: webp). Every frame is a screenshot, and stands for as long
// as it stood there.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { executablePath } from '../../tests/node/chromium.mjs';

const { chromium } = createRequire(new URL('../../tests/node/package.json', import.meta.url))('playwright-core');
const root = fileURLToPath(new URL('../..', import.meta.url));
const binary = process.env.SIDESTREAM_BIN ?? join(root, 'target/debug/sidestream');
const picture = join(root, 'docs/images/demo.webp');
/** The last frame stays for so long before all begins anew, in milliseconds. */
const LAST = 4000;

const daemon = spawn(binary, ['demo', '--listen', '127.0.0.1:0', '--internal-listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'ignore'] });
const url = await new Promise((resolve, reject) => {
  let out = '';
  daemon.stdout.on('data', (data) => {
    out += data;
    const found = out.match(/http:\/\/\S+\//);
    if (found) resolve(found[0]);
  });
  daemon.on('exit', () => reject(new Error('the demo ended')));
});
const browser = await chromium.launch({ executablePath, chromiumSandbox: false, args: ['--disable-gpu'] });
const folder = mkdtempSync(join(tmpdir(), 'demo-'));
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 776 } });
  await page.goto(url);
  for (const user of ['anna', 'ben']) await page.waitForSelector(`.phone[data-user=${user}] .line.good`);

  const frames = [];
  const camera = { on: true, held: Promise.resolve(), shot: Promise.resolve() };
  const recorded = (async () => {
    while (camera.on) {
      await camera.held;
      const at = performance.now();
      camera.shot = page.screenshot({ type: 'png', caret: 'hide' });
      const bytes = await camera.shot;
      if (frames.at(-1)?.bytes.equals(bytes)) continue;
      frames.push({ at, bytes });
    }
  })();
  await play(page, camera);
  camera.on = false;
  await recorded;

  const parts = frames.flatMap(({ at, bytes }, nth) => {
    const file = join(folder, `${nth}.png`);
    writeFileSync(file, bytes);
    const next = frames[nth + 1]?.at ?? at + LAST;
    return ['-d', String(Math.round(next - at)), file];
  });
  execFileSync('img2webp', ['-loop', '0', '-lossy', '-q', '70', '-m', '6', ...parts, '-o', picture], { stdio: 'ignore' });
  console.log(`${picture}: ${frames.length} frames`);
} finally {
  rmSync(folder, { recursive: true });
  await browser.close();
  daemon.kill('SIGINT');
}

/** What is shown: a chat, a cut, what was missed, and how it comes back. */
async function play(page, camera) {
  const pause = (ms) => page.waitForTimeout(ms);
  const type = async (user, text) => {
    await page.click(`.phone[data-user=${user}] input`);
    await page.keyboard.type(text, { delay: 45 });
    // A screenshot holds the page up: none is taken while it measures.
    let release;
    camera.held = new Promise((resolve) => (release = resolve));
    await camera.shot;
    await page.keyboard.press('Enter');
    await page.locator(`.phone[data-user=${user}] .messages`).getByText(text).waitFor();
    release();
    await pause(1300);
  };
  await pause(500);
  await type('anna', 'Lunch at noon?');
  await type('ben', 'Yes. Taking the train.');
  await page.click('.branch[data-reader=ben] [data-act=cut]');
  await pause(1500);
  for (const text of ['The usual place is full', 'Meet at the bridge', 'Bring an umbrella']) await type('anna', text);
  await pause(700);
  await page.click('.branch[data-reader=ben] [data-act=cut]');
  await page.getByText('3 events missed, 3 resumed').waitFor();
  await pause(2200);
}
