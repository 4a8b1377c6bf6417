import assert from 'node:assert/strict';
import { shared } from './support/shared.js';
import { look, opened, start, suite } from './support/suite.js';
import { until } from './support/until.js';

const check = suite('chromium');
shared('chromium', check);

// The two others have no command that takes their network away.
check('offline it goes on trying, and online again it is back at once', async ({ tab, daemon, line }) => {
  const page = await tab();
  await start(page, '/open?topic=news', { backoff: { base: 1e8, max: 1e8 } });
  await opened(page);
  await page.page!.setOfflineMode(true);
  line.cut();
  await until('the cut', async () => (await look(page)).state === 'waiting');
  await daemon.publish('meanwhile');
  await page.page!.setOfflineMode(false);
  await until('what was missed', async () => (await look(page)).data.length, 2_000);
  assert.deepEqual((await look(page)).data, ['meanwhile']);
});
