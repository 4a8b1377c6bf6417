// npm `@microsoft/fetch-event-source`. Argument: the URL.
import { lost, opened, received } from './say.mjs';

// The library is written for pages: these are all that it takes from one.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };

const { fetchEventSource } = (await import('@microsoft/fetch-event-source')).default;

await fetchEventSource(process.argv[2], {
  onopen: async (response) => {
    if (response.status !== 200) throw new Error(`status ${response.status}`);
    opened();
  },
  onmessage: ({ event, data, id }) => received(event || 'message', data, id),
  onclose: () => lost('ended'),
  onerror: lost, // returns nothing, so that the library retries when the stream said
});
