// Prints what a migration changes as the table of its README: `node count.mjs chat-by-conversation`. Lockfiles do not count.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export function table(migration) {
  const cwd = fileURLToPath(new URL(migration, import.meta.url));
  const { stdout } = spawnSync('git', ['diff', '--no-index', '--no-renames', '--numstat', 'before', 'after'], { cwd, encoding: 'utf8' });
  const rows = stdout
    .split('\n')
    .filter((line) => line && !/package-lock\.json|node_modules|dist\//.test(line))
    .map((line) => {
      const [comes, goes, files] = line.split('\t');
      // `{before => after}/server.js`, or `before/sse.js => /dev/null`
      const file = files.replace(/^.*?(?:before|after)\}?\//, '').replace(/ => \/dev\/null$/, '');
      return { file, goes: Number(goes), comes: Number(comes) };
    })
    .sort((a, b) => a.file.localeCompare(b.file));
  const sum = (column) => rows.reduce((all, row) => all + row[column], 0);
  const lines = rows.map(({ file, goes, comes }) => `| \`${file}\` | ${goes || ''} | ${comes || ''} |`);
  return ['| file | lines that go | lines that come |', '|---|--:|--:|', ...lines, `| **all** | **${sum('goes')}** | **${sum('comes')}** |`, ''].join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(table(process.argv[2]));
