// What the types promise: compiled, never run.
import { Publisher, createNotificationEvent, orThrow, type Outcome, type Receipt } from '@sidestream/server';
import { SidestreamModule } from '@sidestream/server/nestjs';
import { getPublisher, webhookRoute } from '@sidestream/server/next';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const holds = <T extends true>(): T | undefined => undefined;

const loose = new Publisher();
const outcome = await loose.sendToUser('u', 'anything', { any: 'thing' });
holds<Same<typeof outcome, Outcome<Receipt>>>();
if (outcome.ok) outcome.value.matched.toFixed();
else outcome.error.kind satisfies string;
orThrow(outcome).id satisfies string | null;

const typed = new Publisher<{ 'message:new': { text: string }; ping: null }>({ key: async () => 'k' });
void typed.sendToUser(7, 'message:new', { text: 'hi' }, { ttl: 60 });
void typed.broadcastToConversation(42, 'ping', null, 'u');
void typed.sendToUser('u', createNotificationEvent({ title: 'x' }));
// @ts-expect-error: the data of another event
void typed.sendToUser('u', 'ping', { text: 'hi' });
// @ts-expect-error: no such event
void typed.sendToAll('pong', null);
// @ts-expect-error: an audience has names
void loose.publish({ user: true });
// @ts-expect-error: whose?
void loose.giveTopics({ tenant: 't' }, ['a']);

const connections = await loose.getActiveConnections({ user: 'u' });
connections[0]?.client satisfies string | undefined;
loose.on('error', (error, { retrying }) => void [error.problem?.reason, retrying satisfies boolean]);
SidestreamModule.forRoot({ closeDeadline: 1000 }).exports satisfies unknown[];
getPublisher().counters().queued satisfies number;
export const POST = webhookRoute(process.env['SECRET'], ({ events }) => void events[0]?.user);
