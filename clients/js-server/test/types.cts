// The same for those who require(): compiled, never run.
import { Publisher, createNotificationEvent, orThrow, type Outcome, type Receipt } from '@sidestream/server';
import { SidestreamModule } from '@sidestream/server/nestjs';
import { getPublisher, webhookRoute } from '@sidestream/server/next';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const holds = <T extends true>(): T | undefined => undefined;

const loose = new Publisher();
async function compiled() {
  const outcome = await loose.sendToUser('u', 'anything', { any: 'thing' });
  holds<Same<typeof outcome, Outcome<Receipt>>>();
}
void [compiled, createNotificationEvent, orThrow, SidestreamModule, getPublisher, webhookRoute];
