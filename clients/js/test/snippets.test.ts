// The pages' own code, as the compiler sees it.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';

const package_ = new URL('..', import.meta.url).pathname;

/** What the snippets take for granted. */
const AROUND = `
import type { Subscription } from '@sidestream/client';
declare global {
  const show: (...values: unknown[]) => void;
  const refetch: () => void;
  const cachedToken: () => string;
  const freshToken: () => Promise<string>;
  const login: () => Promise<void>;
  const fetchOnlineUsers: () => Promise<string[]>;
  const user: { id: number };
  const props: { id: string };
  // A snippet that goes on where another one stopped.
  const events: Subscription;
}
`;

test('snippets: what the pages show compiles', () => {
  const folder = `${package_}build/snippets/`;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  let count = 0;
  for (const page of ['README.md', '../../docs/client.md']) {
    for (const [, language, code] of readFileSync(package_ + page, 'utf8').matchAll(/^```(tsx?)\n(.*?)^```$/gms)) {
      const line = `${page.replace(/\W/g, '_')}_${++count}`;
      const text =
        language === 'ts' && code!.includes('subscribe(') && !code!.includes('import ')
          ? `import { subscribe } from '@sidestream/client';\n${code}`
          : code!;
      writeFileSync(`${folder}${line}.${language}`, `${text}\nexport {};\n`);
    }
  }
  assert.ok(count >= 12, `only ${count} snippets were found`);
  writeFileSync(`${folder}around.d.ts`, AROUND);
  const options = {
    extends: '../../test/tsconfig.json',
    compilerOptions: { noEmit: true, rootDir: '.', noUnusedLocals: false },
    include: ['.'],
    exclude: [],
  };
  writeFileSync(`${folder}tsconfig.json`, JSON.stringify(options));
  try {
    execFileSync(process.execPath, [`${package_}node_modules/typescript/bin/tsc`, '-p', folder], { encoding: 'utf8' });
  } catch (error: any) {
    assert.fail(error.stdout);
  }
});
