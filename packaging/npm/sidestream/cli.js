#!/usr/bin/env node
// Runs the sidestream that the package of this platform carries, as if it had been started itself: the same arguments,
// streams, signals and exit code.
'use strict';

const { spawn } = require('node:child_process');
const { constants } = require('node:os');

const BUILDS = Object.keys(require('./package.json').optionalDependencies).map((name) => name.split('/')[1]);
const OTHERWISE = 'It can be built from source: see "From source" in docs/installing.md.';
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'];

// npm starts this through a shell, and sends SIGTERM to that only, which ends without a word to what it runs.
const UNDER_NPM = process.env.npm_command !== undefined;
const LOOK_MS = 250;

// Ctrl-C under npx arrives twice at once, from the terminal and from npm. The daemon would take the second for "at once".
const SAME_SIGNAL_MS = 300;

function fail(...lines) {
  for (const line of lines) console.error(`sidestream: ${line}`);
  process.exit(1);
}

function binary() {
  const platform = `${process.platform}-${process.arch}`;
  if (!BUILDS.includes(platform)) fail(`there is no build for ${platform}, only for ${BUILDS.join(' and ')}.`, OTHERWISE);
  try {
    return require.resolve(`@sidestream/${platform}/sidestream`);
  } catch {
    return fail(
      `the package @sidestream/${platform}, which carries the program, is not installed.`,
      'Install again without --no-optional or --omit=optional.',
    );
  }
}

function run(file) {
  // In a process group of its own, so that a terminal's Ctrl-C reaches it through here only, and so once.
  const child = spawn(file, process.argv.slice(2), { stdio: 'inherit', detached: true });
  const last = new Map();
  const pass = (signal) => {
    const now = performance.now();
    if (now - (last.get(signal) ?? -Infinity) < SAME_SIGNAL_MS) return;
    last.set(signal, now);
    child.kill(signal);
  };
  for (const signal of SIGNALS) process.on(signal, pass);
  if (UNDER_NPM) {
    const parent = process.ppid;
    const look = setInterval(() => {
      if (process.ppid === parent) return;
      clearInterval(look);
      pass('SIGTERM');
    }, LOOK_MS);
  }
  child.on('error', (error) => {
    // The file is there, so what is missing is the loader of the system's C library.
    if (error.code === 'ENOENT') fail('this system has no glibc (Alpine?), which the build needs.', OTHERWISE);
    fail(`${file}: ${error.message}`);
  });
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    for (const passed of SIGNALS) process.removeListener(passed, pass);
    // Ends as the program did. A signal that does not end this process is told by the code that a shell would give.
    process.exitCode = 128 + constants.signals[signal];
    process.kill(process.pid, signal);
  });
}

run(binary());
