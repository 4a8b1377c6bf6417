import { BadRequestException, Body, Controller, Get, NotFoundException, Param, ParseIntPipe, Post } from '@nestjs/common';
import { EventsService } from './events.service.js';

interface Order {
  id: number;
  userId: string;
  what: string;
  isPaid: boolean;
}

@Controller('orders')
export class OrdersController {
  private readonly orders: Order[] = [];

  constructor(private readonly events: EventsService) {}

  @Get()
  all(): Order[] {
    return this.orders;
  }

  @Post()
  create(@Body() { userId, what }: { userId?: string; what?: string }): Order {
    if (!userId || !what) throw new BadRequestException('Who orders what?');
    const order = { id: this.orders.length + 1, userId, what, isPaid: false };
    this.orders.push(order);
    this.events.emitToAll('order.created', { id: order.id, userId, what });
    return order;
  }

  @Post(':id/pay')
  pay(@Param('id', ParseIntPipe) id: number): Order {
    const order = this.orders[id - 1];
    if (!order) throw new NotFoundException();
    order.isPaid = true;
    this.events.emitToUser(order.userId, 'order.paid', { id });
    return order;
  }
}
