import { BadRequestException, Body, Controller, Get, Post, Query } from '@nestjs/common';
import { MessagesService, type Message } from './messages.service.js';

@Controller('api/messages')
export class MessagesController {
  constructor(private readonly messages: MessagesService) {}

  @Get()
  history(@Query('room') room: string): Message[] {
    return this.messages.of(room);
  }

  @Post()
  write(@Body() body: Record<string, unknown>): Message {
    const [room, author, text] = [fitting(body.room, 40), fitting(body.author, 40), fitting(body.text, 2000)];
    return this.messages.write(room, author, text);
  }
}

function fitting(value: unknown, most: number): string {
  const text = String(value ?? '').trim();
  if (text === '' || text.length > most) {
    throw new BadRequestException('A message needs a room, an author and 1 to 2000 characters.');
  }
  return text;
}
