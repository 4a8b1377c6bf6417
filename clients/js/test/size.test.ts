// What the core weighs in a page.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

async function weight(entry: string): Promise<number> {
  const entryPoints = [new URL(`../dist/${entry}.js`, import.meta.url).pathname];
  const built = await build({ entryPoints, bundle: true, minify: true, format: 'esm', target: 'es2022', write: false });
  return gzipSync(built.outputFiles[0]!.contents, { level: 9 }).length;
}

test('size: the core is 3 KiB at most, minified and compressed', async (t) => {
  const bytes = await weight('index');
  t.diagnostic(`${bytes} bytes`);
  assert.ok(bytes <= 3 * 1024, `${bytes} bytes`);
});
