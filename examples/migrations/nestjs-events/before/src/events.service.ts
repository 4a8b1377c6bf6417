import { randomUUID } from 'node:crypto';
import { Injectable, type MessageEvent, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { finalize, Subject, type Observable } from 'rxjs';

export interface AppEvents {
  connected: { connectionId: string; userId: string };
  heartbeat: Record<string, never>;
  'order.created': { id: number; userId: string; what: string };
  'order.paid': { id: number };
}

interface Connection {
  userId: string;
  subject: Subject<MessageEvent>;
  connectedAt: Date;
  lastActivity: number;
}

const HEARTBEAT = 30_000;
const INACTIVE = 30 * 60_000;

@Injectable()
export class EventsService implements OnModuleInit, OnModuleDestroy {
  private readonly open = new Map<string, Connection>();
  private timers: NodeJS.Timeout[] = [];

  onModuleInit() {
    this.timers = [
      setInterval(() => this.emitWhere(() => true, 'heartbeat', {}, false), HEARTBEAT),
      setInterval(() => this.closeInactive(), 60_000),
    ];
  }

  onModuleDestroy() {
    this.timers.forEach(clearInterval);
    for (const { subject } of this.open.values()) subject.complete();
  }

  connect(userId: string): Observable<MessageEvent> {
    const connectionId = randomUUID();
    const subject = new Subject<MessageEvent>();
    this.open.set(connectionId, { userId, subject, connectedAt: new Date(), lastActivity: Date.now() });
    // The response subscribes after this call has returned.
    setImmediate(() => this.write(connectionId, 'connected', { connectionId, userId }));
    return subject.pipe(finalize(() => this.open.delete(connectionId)));
  }

  emitToUser<K extends keyof AppEvents>(userId: string, type: K, data: AppEvents[K]) {
    this.emitWhere((connection) => connection.userId === userId, type, data);
  }

  emitToAll<K extends keyof AppEvents>(type: K, data: AppEvents[K]) {
    this.emitWhere(() => true, type, data);
  }

  status() {
    const users = new Set([...this.open.values()].map(({ userId }) => userId));
    return { connections: this.open.size, users: users.size };
  }

  connections() {
    return [...this.open].map(([id, { userId, connectedAt }]) => ({ id, userId, connectedAt }));
  }

  private emitWhere<K extends keyof AppEvents>(
    matches: (connection: Connection) => boolean,
    type: K,
    data: AppEvents[K],
    isActivity = true,
  ) {
    for (const [id, connection] of this.open) {
      if (matches(connection)) this.write(id, type, data, isActivity);
    }
  }

  private write<K extends keyof AppEvents>(id: string, type: K, data: AppEvents[K], isActivity = true) {
    const connection = this.open.get(id);
    if (!connection) return;
    if (isActivity) connection.lastActivity = Date.now();
    connection.subject.next({ data: { type, data, timestamp: new Date().toISOString() } });
  }

  private closeInactive() {
    for (const { lastActivity, subject } of this.open.values()) {
      if (Date.now() - lastActivity > INACTIVE) subject.complete();
    }
  }
}
