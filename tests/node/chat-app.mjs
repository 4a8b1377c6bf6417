// An application with a chat, as the AI SDK and TanStack AI have it, and a model that says half of a text and waits. It knows
// nothing of what stands in front of it. Prints its port; ends with its stdin.
//
// `GET /asked` says how often its model was asked, and how often that was cancelled; `GET /say` lets the model say the rest.
import { createServer } from 'node:http';
import { build } from 'esbuild';

const words = Array.from({ length: 40 }, (_, n) => `${n}: grüße 👋🏽 “ok”\n`);

const page = `
  import { createElement as h } from 'react';
  import { createRoot } from 'react-dom/client';
  import { useChat } from '@ai-sdk/react';
  import { DefaultChatTransport } from 'ai';
  const id = new URLSearchParams(location.search).get('id');
  function Chat() {
    const chat = useChat({ id, resume: true, transport: new DefaultChatTransport({ api: '/api/chat' }) });
    const said = chat.messages.filter((message) => message.role === 'assistant').flatMap((message) => message.parts);
    const text = said.filter((part) => part.type === 'text').map((part) => part.text).join('');
    return h('div', null,
      h('button', { id: 'ask', onClick: () => chat.sendMessage({ text: 'go' }) }, 'ask'),
      h('button', { id: 'stop', onClick: () => fetch('/api/chat/' + id + '/stop', { method: 'POST' }) }, 'stop'),
      h('pre', { id: 'text' }, text),
      h('p', { id: 'state' }, chat.status));
  }
  createRoot(document.getElementById('root')).render(h(Chat));`;
const bundled = await build({
  stdin: { contents: page, resolveDir: import.meta.dirname, loader: 'js' },
  bundle: true,
  write: false,
  format: 'esm',
  define: { 'process.env.NODE_ENV': '"production"' },
});
const script = bundled.outputFiles[0].contents;

let asked = 0;
let cancelled = 0;
const waiting = [];
const sayTheRest = () => waiting.splice(0).forEach((go) => go());

/** The chunks around and of each word, as one of the two says them. */
const dialects = {
  '/api/chat': () => ({
    before: [{ type: 'start', messageId: 'm' }, { type: 'text-start', id: 't' }],
    word: (delta) => ({ type: 'text-delta', id: 't', delta }),
    after: [{ type: 'text-end', id: 't' }, { type: 'finish' }],
  }),
  '/api/run': ({ runId, threadId }) => ({
    before: [
      { type: 'RUN_STARTED', runId, threadId, timestamp: 1 },
      { type: 'TEXT_MESSAGE_START', messageId: 'm', role: 'assistant', timestamp: 1 },
    ],
    word: (delta) => ({ type: 'TEXT_MESSAGE_CONTENT', messageId: 'm', delta, timestamp: 1 }),
    after: [
      { type: 'TEXT_MESSAGE_END', messageId: 'm', timestamp: 1 },
      { type: 'RUN_FINISHED', runId, threadId, finishReason: 'stop', timestamp: 1 },
    ],
  }),
};

async function answer({ before, word, after }, response) {
  asked += 1;
  let open = true;
  response.on('close', () => {
    if (!open) return;
    open = false;
    cancelled += 1;
    sayTheRest();
  });
  response.writeHead(200, { 'content-type': 'text/event-stream', 'x-vercel-ai-ui-message-stream': 'v1' });
  const send = (chunk) => response.write(`data: ${JSON.stringify(chunk)}\n\n`);
  before.forEach(send);
  for (const [n, text] of words.entries()) {
    if (n === words.length / 2) await new Promise((go) => waiting.push(go));
    if (!open) return;
    send(word(text));
  }
  after.forEach(send);
  open = false;
  response.end();
}

const server = createServer(async (request, response) => {
  let body = '';
  for await (const part of request) body += part;
  const { pathname } = new URL(request.url, 'http://app');
  const dialect = request.method === 'POST' ? dialects[pathname] : undefined;
  if (dialect) return answer(dialect(JSON.parse(body)), response);
  const html = '<div id="root"></div><script type="module" src="/page.js"></script>';
  if (pathname === '/') return response.setHeader('content-type', 'text/html').end(html);
  if (pathname === '/page.js') return response.setHeader('content-type', 'text/javascript').end(script);
  if (pathname === '/asked') return response.end(JSON.stringify({ asked, cancelled }));
  if (pathname === '/say') sayTheRest();
  return response.end();
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
