import { Injectable } from '@nestjs/common';
import { Publisher } from '@sidestream/server';

export interface AppEvents {
  'order.created': { id: number; userId: string; what: string };
  'order.paid': { id: number };
}

@Injectable()
export class EventsService {
  constructor(private readonly push: Publisher) {}

  emitToUser<K extends keyof AppEvents>(userId: string, type: K, data: AppEvents[K]) {
    this.push.sendToUser(userId, type, data);
  }

  emitToAll<K extends keyof AppEvents>(type: K, data: AppEvents[K]) {
    this.push.sendToAll(type, data);
  }

  async status() {
    const connections = await this.connections();
    return { connections: connections.length, users: new Set(connections.map(({ userId }) => userId)).size };
  }

  async connections() {
    const open = await this.push.getActiveConnections();
    return open.map(({ client, user, opened }) => ({ id: client, userId: user, connectedAt: opened }));
  }
}
