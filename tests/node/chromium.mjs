// Where Chromium is: what SIDESTREAM_CHROMIUM names, or the first on the path.
import { existsSync } from 'node:fs';

const folders = (process.env.PATH ?? '').split(':');
export const executablePath =
  process.env.SIDESTREAM_CHROMIUM ??
  ['chromium', 'chromium-browser', 'google-chrome']
    .flatMap((name) => folders.map((folder) => `${folder}/${name}`))
    .find((path) => existsSync(path));
if (!executablePath) throw new Error('no Chromium: run `make setup`, or set SIDESTREAM_CHROMIUM');
