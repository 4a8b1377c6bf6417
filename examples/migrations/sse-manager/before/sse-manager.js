// The open streams of this process, by client, with the user and the session of each.
import { randomUUID } from 'node:crypto';

const HEARTBEAT = 30_000;

class SSEManager {
  constructor() {
    this.clients = new Map(); // client id → { userId, sessionId, res, connectedAt }
    this.heartbeat = setInterval(() => this.sendHeartbeat(), HEARTBEAT);
    this.heartbeat.unref();
  }

  addClient(res, { userId, sessionId }) {
    const clientId = randomUUID();
    res.writeHead(200, {
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-cache, no-transform',
      Connection: 'keep-alive',
      'X-Accel-Buffering': 'no',
    });
    this.clients.set(clientId, { userId, sessionId, res, connectedAt: new Date() });
    this.sendToClient(clientId, 'connection_established', { clientId, userId, sessionId });
    res.on('close', () => this.removeClient(clientId));
    res.on('error', () => this.removeClient(clientId));
    return clientId;
  }

  removeClient(clientId) {
    this.clients.delete(clientId);
  }

  disconnectClient(clientId) {
    this.clients.get(clientId)?.res.end();
    this.removeClient(clientId);
  }

  sendToClient(clientId, type, data) {
    const client = this.clients.get(clientId);
    if (!client) return false;
    try {
      client.res.write(`data: ${JSON.stringify({ type, data, timestamp: new Date().toISOString() })}\n\n`);
      return true;
    } catch (error) {
      console.error(`sse: ${clientId}: ${error.message}`);
      this.removeClient(clientId);
      return false;
    }
  }

  sendWhere(matches, type, data) {
    let count = 0;
    for (const [clientId, client] of this.clients) {
      if (matches(client) && this.sendToClient(clientId, type, data)) count += 1;
    }
    return count;
  }

  sendToUser(userId, type, data) {
    return this.sendWhere((client) => client.userId === userId, type, data);
  }

  sendToSession(sessionId, type, data) {
    return this.sendWhere((client) => client.sessionId === sessionId, type, data);
  }

  sendToAll(type, data) {
    return this.sendWhere(() => true, type, data);
  }

  sendHeartbeat() {
    this.sendToAll('heartbeat', {});
  }

  getStats() {
    const clients = [...this.clients].map(([id, { userId, sessionId }]) => ({ id, userId, sessionId }));
    return { total: clients.length, clients };
  }
}

export const sseManager = new SSEManager();
