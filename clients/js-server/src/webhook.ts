import { createHmac, timingSafeEqual } from 'node:crypto';

/** Something that happened to a stream, a user or a topic. */
export interface WebhookEvent {
  type: 'connected' | 'disconnected' | 'user_online' | 'user_offline' | 'topic_occupied' | 'topic_empty';
  at: string;
  user?: string;
  session?: string;
  client?: string;
  topic?: string;
  topics?: string[];
  address?: string;
  reason?: string;
  seconds?: number;
  sent?: number;
}

/** What sidestream posts to a webhook. The same `id` may come more than once. */
export interface WebhookDelivery {
  id: string;
  webhook: string;
  instance: { id: string; name: string };
  /** Events that were lost before the first one. When it is not 0, ask for the state anew. */
  dropped: number;
  events: WebhookEvent[];
}

/**
 * Whether `header` (`sidestream-signature`) signs `body` with `secret`, and is not older than `tolerance` seconds. `body`
 * has to be the bytes as they came, before any framework has parsed them. Compares in constant time; never throws.
 */
export function verifyWebhook(
  secret: string,
  header: string | null | undefined,
  body: string | Uint8Array,
  tolerance = 300,
): boolean {
  const parts = (header ?? '').split(',').map((part) => part.trim().split('='));
  const stamp = parts.find(([name]) => name === 't')?.[1] ?? '';
  if (secret === '' || !/^\d{1,12}$/.test(stamp)) return false;
  if (Math.abs(Date.now() / 1000 - Number(stamp)) > tolerance) return false;
  const expected = createHmac('sha256', secret).update(`${stamp}.`).update(body).digest();
  return parts.some(([name, value]) => {
    const given = Buffer.from(name === 'v1' ? (value ?? '') : '', 'hex');
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}
