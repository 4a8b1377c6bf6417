import { Module } from '@nestjs/common';
import { EventsController } from './events.controller.js';
import { EventsService } from './events.service.js';
import { OrdersController } from './orders.controller.js';

@Module({
  controllers: [EventsController, OrdersController],
  providers: [EventsService],
})
export class AppModule {}
