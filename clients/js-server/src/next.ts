// Next.js: one publisher for a server that loads its modules again and again, and a route for webhooks. For the Node.js
// runtime (`export const runtime = 'nodejs'`), not for the edge.
import { Publisher, type PublisherOptions } from './publisher.js';
import { verifyWebhook, type WebhookDelivery } from './webhook.js';

const SHARED = Symbol.for('@sidestream/server:publisher');

/** The publisher of this process, made at the first call: the same one after a hot reload. */
export function getPublisher(options?: PublisherOptions): Publisher {
  const shared = globalThis as { [SHARED]?: Publisher };
  return (shared[SHARED] ??= new Publisher(options));
}

/**
 * A route handler for sidestream's webhooks; a request whose signature is wrong is refused, and one that `handle` fails on is
 * sent again:
 *
 *     export const POST = webhookRoute(process.env.HOOK_SECRET, async ({ events }) => { … });
 */
export function webhookRoute(
  secret: string | undefined,
  handle: (delivery: WebhookDelivery) => void | Promise<void>,
): (request: Request) => Promise<Response> {
  return async (request) => {
    const body = new Uint8Array(await request.arrayBuffer());
    if (!verifyWebhook(secret ?? '', request.headers.get('sidestream-signature'), body)) {
      return new Response(null, { status: 403 });
    }
    await handle(JSON.parse(new TextDecoder().decode(body)) as WebhookDelivery);
    return new Response(null, { status: 204 });
  };
}
