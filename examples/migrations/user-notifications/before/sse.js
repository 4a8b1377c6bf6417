// The open streams of this process, by user. A user may have several: tabs, devices.
const HEARTBEAT = 30_000;
const LIMIT = 20; // streams of a user
const users = new Map(); // user → Set of responses

export function addClient(user, req, res) {
  const responses = users.get(user) ?? new Set();
  if (responses.size >= LIMIT) return res.status(429).json({ error: 'Too many streams.' });
  users.set(user, responses.add(res));
  res.writeHead(200, {
    'Content-Type': 'text/event-stream',
    'Cache-Control': 'no-cache, no-transform',
    Connection: 'keep-alive',
    'X-Accel-Buffering': 'no',
  });
  write(res, 'connected', { userId: user, timestamp: Date.now() });

  const heartbeat = setInterval(() => res.write(': heartbeat\n\n'), HEARTBEAT);
  const remove = () => {
    clearInterval(heartbeat);
    responses.delete(res);
    if (responses.size === 0) users.delete(user);
  };
  req.on('close', remove);
  res.on('error', remove);
}

export function sendToUser(user, event, data) {
  for (const res of users.get(user) ?? []) {
    try {
      write(res, event, data);
    } catch (error) {
      console.error(`sse: ${user}: ${error.message}`);
    }
  }
}

export const sendToUsers = (list, event, data) => list.forEach((user) => sendToUser(user, event, data));

export const hasConnection = (user) => users.has(user);

function write(res, event, data) {
  res.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}
