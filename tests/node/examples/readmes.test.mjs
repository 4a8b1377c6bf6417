// What the examples' pages say of their code, held against it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { test } from 'node:test';
import { table } from '../../../examples/migrations/count.mjs';
import { repository } from './example.mjs';

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', 'examples'], { cwd: repository, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file && statSync(repository + file, { throwIfNoEntry: false })?.isFile());
const read = (file) => readFileSync(repository + file, 'utf8');
const folders = files.filter((file) => /^examples\/.+\/sidestream\.toml$/.test(file)).map((file) => file.slice(0, file.lastIndexOf('/')));

test('every example has a README and one command to run it, and is in the table', () => {
  assert.ok(folders.length >= 8, `${folders.length} examples were found`);
  const table = read('examples/README.md');
  for (const folder of folders) {
    const example = folder.replace(/\/(before|after)$/, '');
    assert.ok(files.includes(`${example}/README.md`), `${example} has no README.md`);
    assert.ok(files.includes(`${folder}/run`), `${folder} has no run`);
    assert.ok(table.includes(`](${example.slice('examples/'.length)})`), `examples/README.md does not name ${example}`);
  }
});

test('every line that a README shows of its code stands in the code', () => {
  let shown = 0;
  for (const readme of files.filter((file) => file.endsWith('/README.md'))) {
    const folder = readme.slice(0, readme.lastIndexOf('/') + 1);
    const code = files
      .filter((file) => file.startsWith(folder) && file !== readme && !file.endsWith('package-lock.json'))
      .flatMap((file) => read(file).split('\n').map((line) => line.trim()));
    // Blocks of text and of commands are no code of the example.
    for (const [, language, block] of read(readme).matchAll(/^```(\w*)\n([^]*?)^```$/gm)) {
      if (['', 'sh'].includes(language)) continue;
      for (const line of block.split('\n').map((line) => line.trim()).filter(Boolean)) {
        assert.ok(code.includes(line), `${readme} shows a line that is not in its code: ${line}`);
        shown += 1;
      }
    }
  }
  assert.ok(shown >= 10, `only ${shown} lines were found`);
});

test('the README of every migration counts its lines', () => {
  const migrations = folders.filter((folder) => folder.endsWith('/after')).map((folder) => folder.split('/').at(-2));
  assert.ok(migrations.length >= 5, `only ${migrations.length} were found`);
  for (const name of migrations) {
    assert.ok(read(`examples/migrations/${name}/README.md`).includes(table(name)), `${name}: the table is now\n${table(name)}`);
  }
});

test('the pages of every migration are the same before and after', () => {
  for (const folder of folders.filter((folder) => folder.endsWith('/after'))) {
    const pages = (version) => ['public', 'src/main.jsx', 'src/useSSE.js'].flatMap((part) => contents(folder.replace(/after$/, version), part));
    const [before, after] = ['before', 'after'].map(pages);
    assert.ok(before.some(([name]) => name.endsWith('index.html')), `${folder}: no page was found`);
    assert.deepEqual(after, before, folder);
  }
});

/** Every file of a part of an example, links followed, with its bytes. */
function contents(folder, part) {
  const path = `${repository}${folder}/${part}`;
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) return [];
  if (!found.isDirectory()) return [[part, readFileSync(path, 'base64')]];
  return readdirSync(path).sort().flatMap((name) => contents(folder, `${part}/${name}`));
}

test('pages have the look of all pages', () => {
  const look = read('src/web/look/style.css');
  const copies = files.filter((file) => file.endsWith('/look.css'));
  assert.ok(copies.length >= 6, `only ${copies.length} were found`);
  for (const copy of copies) assert.equal(read(copy), look, copy);
});
