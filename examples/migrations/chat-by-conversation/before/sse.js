// The open streams of this process, by conversation.
import { randomUUID } from 'node:crypto';

const HEARTBEAT = 30_000;
const conversations = new Map(); // conversation → Map of client id → { user, res }

export function addClient(joined, user, req, res) {
  const client = randomUUID();
  res.writeHead(200, {
    'Content-Type': 'text/event-stream',
    'Cache-Control': 'no-cache, no-transform',
    Connection: 'keep-alive',
    'X-Accel-Buffering': 'no',
  });

  for (const conversation of joined) {
    if (!conversations.has(conversation)) conversations.set(conversation, new Map());
    conversations.get(conversation).set(client, { user, res });
  }
  write(res, 'connected', { clientId: client, conversationId: req.query.conversationId ?? null, timestamp: Date.now() });

  const heartbeat = setInterval(() => {
    try {
      res.write(': heartbeat\n\n');
    } catch {
      remove();
    }
  }, HEARTBEAT);

  function remove() {
    clearInterval(heartbeat);
    for (const conversation of joined) {
      const clients = conversations.get(conversation);
      clients?.delete(client);
      if (clients?.size === 0) conversations.delete(conversation);
    }
  }
  req.on('close', remove);
  res.on('error', remove);
}

export function broadcastToConversation(conversation, event, data, exceptUser) {
  const clients = conversations.get(conversation);
  if (!clients) return;
  for (const [client, { user, res }] of clients) {
    if (user === exceptUser) continue;
    try {
      write(res, event, data);
    } catch (error) {
      console.error(`sse: ${client}: ${error.message}`);
      clients.delete(client);
    }
  }
}

export function hasConnection(user) {
  for (const clients of conversations.values()) {
    for (const client of clients.values()) {
      if (client.user === user) return true;
    }
  }
  return false;
}

function write(res, event, data) {
  res.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}
