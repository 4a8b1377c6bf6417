// TanStack AI's own client: `connect` asks, `join` joins what was asked. Arguments: which of them, and the URL. Prints
// `{"text": …}` each time that the text has grown, and `{"end": type}` with the last chunk's type.
import { fetchServerSentEvents } from '@tanstack/ai-client';

const [what, url] = process.argv.slice(2);
const adapter = fetchServerSentEvents(url, { reconnect: { maxAttempts: 40, delayMs: 100 } });
const ids = { threadId: 't', runId: 'run-1' };
const chunks = what === 'join' ? adapter.joinRun(ids.runId) : adapter.connect([{ role: 'user', content: 'go' }], {}, undefined, ids);
let text = '';
let end;
for await (const chunk of chunks) {
  end = chunk.type;
  if (!chunk.delta) continue;
  text += chunk.delta;
  console.log(JSON.stringify({ text }));
}
console.log(JSON.stringify({ end }));
