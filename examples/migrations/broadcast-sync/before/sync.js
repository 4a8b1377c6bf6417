// The open streams of this process. Everything goes to everybody, without a name of the event: the page looks at `type`.
import { randomUUID } from 'node:crypto';

const HEARTBEAT = 30_000;
const clients = new Map(); // client id → response

export function addClient(req, res) {
  const clientId = randomUUID();
  res.writeHead(200, {
    'Content-Type': 'text/event-stream',
    'Cache-Control': 'no-cache, no-transform',
    Connection: 'keep-alive',
    'X-Accel-Buffering': 'no',
  });
  clients.set(clientId, res);
  write(res, { type: 'connected', clientId });
  req.on('close', () => clients.delete(clientId));
}

export function broadcast(message, exceptClient) {
  for (const [clientId, res] of clients) {
    if (clientId !== exceptClient) write(res, message);
  }
}

function write(res, message) {
  res.write(`data: ${JSON.stringify(message)}\n\n`);
}

setInterval(() => {
  for (const res of clients.values()) res.write(': heartbeat\n\n');
}, HEARTBEAT).unref();
