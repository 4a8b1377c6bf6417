import { Controller, Get } from '@nestjs/common';
import { EventsService } from './events.service.js';

@Controller('events')
export class EventsController {
  constructor(private readonly events: EventsService) {}

  @Get('status')
  status() {
    return this.events.status();
  }

  @Get('connections')
  connections() {
    return this.events.connections();
  }
}
