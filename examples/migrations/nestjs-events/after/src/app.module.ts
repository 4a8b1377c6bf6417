import { Module } from '@nestjs/common';
import { SidestreamModule } from '@sidestream/server/nestjs';
import { EventsController } from './events.controller.js';
import { EventsService } from './events.service.js';
import { OrdersController } from './orders.controller.js';

@Module({
  imports: [SidestreamModule.forRoot()], // SIDESTREAM_URL and SIDESTREAM_KEY of the environment
  controllers: [EventsController, OrdersController],
  providers: [EventsService],
})
export class AppModule {}
