// What runs in a worker: a stream at the URL that the page sends, until it sends none.

import { subscribe, type Subscription } from '@sidestream/client';

let events: Subscription | undefined;
globalThis.onmessage = ({ data: url }: MessageEvent<string>) => {
  if (!url) return events?.unsubscribe();
  events = subscribe(url, {
    backoff: { base: 1, max: 20 },
    on: { '*': (data) => globalThis.postMessage(data) },
    onConnect: ({ resumed }) => resumed || globalThis.postMessage('open'),
  });
};
