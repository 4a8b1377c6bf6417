import type { EventOptions, SidestreamEvent } from './types.js';

/** An event by its name, for every call that sends one: `sendToUser(id, createEvent('invited', { to: 'tea' }))`. */
export function createEvent<Data>(event: string, data: Data, options: EventOptions = {}): SidestreamEvent<Data> {
  return { ...options, event, data };
}

const creator =
  (event: string) =>
  <Data>(data: Data, options?: EventOptions): SidestreamEvent<Data> =>
    createEvent(event, data, options);

/** An event called `notification`. */
export const createNotificationEvent = creator('notification');
/** An event called `message`. */
export const createMessageEvent = creator('message');
/** An event called `update`. */
export const createUpdateEvent = creator('update');
/** An event called `status`. */
export const createStatusEvent = creator('status');

/** An event called `typing`, which nobody needs later: it is delivered live and never replayed. */
export function createTypingEvent<Data>(data: Data, options?: EventOptions): SidestreamEvent<Data> {
  return createEvent('typing', data, { ephemeral: true, ...options });
}
