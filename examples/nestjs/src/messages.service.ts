import { Injectable } from '@nestjs/common';
import { Publisher } from '@sidestream/server';

export interface Message {
  id: number;
  author: string;
  text: string;
  at: string;
}

const KEPT = 200; // messages of each room

/** The messages of each room. It has no stream of its own: `/events` never gets here. */
@Injectable()
export class MessagesService {
  private readonly rooms = new Map<string, Message[]>();
  private lastId = 0;

  constructor(private readonly push: Publisher) {}

  of(room: string): Message[] {
    return this.rooms.get(room) ?? [];
  }

  write(room: string, author: string, text: string): Message {
    const message = { id: (this.lastId += 1), author, text, at: new Date().toISOString() };
    this.rooms.set(room, [...this.of(room), message].slice(-KEPT));
    this.push.sendToTopic(`room:${room}`, 'message:new', message);
    return message;
  }
}
