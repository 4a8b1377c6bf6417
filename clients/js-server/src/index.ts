export { SidestreamError, type ErrorKind, type Problem } from './errors.js';
export {
  createEvent,
  createMessageEvent,
  createNotificationEvent,
  createStatusEvent,
  createTypingEvent,
  createUpdateEvent,
} from './events.js';
export type { Key } from './http.js';
export { Publisher, orThrow, type EventMap, type Failure, type PublisherOptions, type PublishOptions } from './publisher.js';
export type { Queries } from './queries.js';
export type * from './types.js';
export { verifyWebhook, type WebhookDelivery, type WebhookEvent } from './webhook.js';
