import { Module } from '@nestjs/common';
import { SidestreamModule } from '@sidestream/server/nestjs';
import { MessagesController } from './messages.controller.js';
import { MessagesService } from './messages.service.js';

@Module({
  imports: [SidestreamModule.forRoot()], // SIDESTREAM_URL and SIDESTREAM_KEY of the environment
  controllers: [MessagesController],
  providers: [MessagesService],
})
export class AppModule {}
