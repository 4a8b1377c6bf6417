// npm `eventsource-client`. Argument: the URL.
import { createEventSource } from 'eventsource-client';
import { lost, opened, received } from './say.mjs';

createEventSource({
  url: process.argv[2],
  onConnect: opened,
  onMessage: ({ event, data, id }) => received(event ?? 'message', data, id),
  onDisconnect: () => lost('disconnected'),
});
