import { join } from 'node:path';
import type { NextConfig } from 'next';

const config: NextConfig = {
  // The publisher is linked from this repository, two folders up.
  turbopack: { root: join(__dirname, '../..') },
};

export default config;
