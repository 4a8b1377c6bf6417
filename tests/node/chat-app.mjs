// An application with chats, as the AI SDK, TanStack AI and OpenAI's Responses have them, and a model that says half of a text
// and waits. It knows nothing of what stands in front of it. Prints its port; ends with its stdin.
//
// `GET /asked` says how often its model was asked, and how often that was cancelled; `GET /say` lets the model say the rest.
import { createServer } from 'node:http';
import { build } from 'esbuild';
import { dialects, words } from './models.mjs';

/** Pages with a chat, by their paths. Each has `chat`, its text, and what stops it at the server. */
const pages = {
  '/': `
    import { useChat } from '@ai-sdk/react';
    import { DefaultChatTransport } from 'ai';
    const transport = new DefaultChatTransport({ api: '/api/chat' });
    const use = (id) => useChat({ id, resume: true, transport });
    const send = (chat) => chat.sendMessage({ text: 'go' });
    const text = (part) => part.text;
    const stop = (_, id) => fetch('/api/chat/' + id + '/stop', { method: 'POST' });`,
  '/tanstack': `
    import { fetchServerSentEvents, localStoragePersistence, useChat } from '@tanstack/ai-react';
    const connection = fetchServerSentEvents('/api/run', { reconnect: { delayMs: 50 } });
    const persistence = localStoragePersistence();
    const use = (threadId) => useChat({ threadId, connection, persistence });
    const send = (chat) => chat.sendMessage('go');
    const text = (part) => part.content;
    const stop = (chat) => {
      fetch('/api/run/stop?stream=' + chat.runId, { method: 'POST' });
      chat.stop();
    };`,
};
const around = `
  import { createElement as h } from 'react';
  import { createRoot } from 'react-dom/client';
  const id = new URLSearchParams(location.search).get('id');
  function Chat() {
    const chat = use(id);
    const said = chat.messages.filter((message) => message.role === 'assistant').flatMap((message) => message.parts);
    return h('div', null,
      h('button', { id: 'ask', onClick: () => send(chat) }, 'ask'),
      h('button', { id: 'stop', onClick: () => stop(chat, id) }, 'stop'),
      h('pre', { id: 'text' }, said.filter((part) => part.type === 'text').map(text).join('')),
      h('p', { id: 'state' }, chat.status),
      h('p', { id: 'error' }, chat.error?.message));
  }
  createRoot(document.getElementById('root')).render(h(Chat));`;

async function bundled(page) {
  const made = await build({
    stdin: { contents: page + around, resolveDir: import.meta.dirname, loader: 'js' },
    bundle: true,
    write: false,
    format: 'esm',
    define: { 'process.env.NODE_ENV': '"production"' },
  });
  return made.outputFiles[0].contents;
}

let asked = 0;
let cancelled = 0;
const waiting = [];
const sayTheRest = () => waiting.splice(0).forEach((go) => go());

async function answer(dialect, response) {
  asked += 1;
  let open = true;
  response.on('close', () => {
    if (!open) return;
    open = false;
    cancelled += 1;
    sayTheRest();
  });
  response.writeHead(200, { 'content-type': 'text/event-stream', ...dialect.head });
  dialect.before.forEach((block) => response.write(block));
  for (const [n, text] of words.entries()) {
    if (n === words.length / 2) await new Promise((go) => waiting.push(go));
    if (!open) return;
    response.write(dialect.word(text));
  }
  dialect.after.forEach((block) => response.write(block));
  open = false;
  response.end();
}

const server = createServer(async (request, response) => {
  let body = '';
  for await (const part of request) body += part;
  const { pathname, searchParams } = new URL(request.url, 'http://app');
  const dialect = request.method === 'POST' ? dialects[pathname] : undefined;
  if (dialect) return answer(dialect(JSON.parse(body)), response);
  const script = `<div id="root"></div><script type="module" src="/page.js?of=${pathname}"></script>`;
  if (pages[pathname]) return response.setHeader('content-type', 'text/html').end(script);
  if (pathname === '/page.js') {
    return response.setHeader('content-type', 'text/javascript').end(await bundled(pages[searchParams.get('of')]));
  }
  if (pathname === '/asked') return response.end(JSON.stringify({ asked, cancelled }));
  if (pathname === '/say') sayTheRest();
  return response.end();
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
