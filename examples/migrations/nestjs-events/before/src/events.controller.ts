import { BadRequestException, Controller, Get, Query, Sse, type MessageEvent } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { EventsService } from './events.service.js';

@Controller('events')
export class EventsController {
  constructor(private readonly events: EventsService) {}

  @Sse('stream')
  stream(@Query('userId') userId?: string): Observable<MessageEvent> {
    if (!userId) throw new BadRequestException('Which user?');
    return this.events.connect(userId);
  }

  @Get('status')
  status() {
    return this.events.status();
  }

  @Get('connections')
  connections() {
    return this.events.connections();
  }
}
