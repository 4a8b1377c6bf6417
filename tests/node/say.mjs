// What a client under test tells the Rust test: one JSON object a line on stdout.

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

export const opened = () => say({ said: 'opened' });
export const received = (event, data, id) => say({ said: 'event', event, data, id });
export const lost = (why) => say({ said: 'lost', why: String(why) });

// The test holds our stdin; when the test is gone, however it ended, so are we.
process.stdin.on('end', () => process.exit()).resume();
