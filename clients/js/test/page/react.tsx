// React applications that a test renders, in StrictMode.

import { StrictMode, useState, type ReactElement } from 'react';
import { createRoot, hydrateRoot, type Root } from 'react-dom/client';
import { SSEProvider, useEvent, usePresence, useSSE, type SSEOptions } from '@sidestream/client/react';

const page = {
  requests: [] as string[],
  log: [] as unknown[],
  complaints: [] as string[],
  renders: 0,
  sse: undefined as any,
};
Object.assign(globalThis, { page });
for (const does of ['error', 'warn'] as const)
  console[does] = (...words: unknown[]) => void page.complaints.push(words.map(String).join(' '));

const counted: typeof fetch = (input, init) => {
  page.requests.push(`${init?.method} ${new URL(String(input)).search}`);
  return fetch(input, init);
};

export function Chat({ url, version, ...options }: SSEOptions & { version?: number }): ReactElement {
  page.renders += 1;
  // All of it inline, and anew at each rendering.
  const sse = useSSE({
    ...options,
    url: url!,
    fetch: counted,
    headers: { 'x-version': String(version) },
    backoff: { base: 1, max: 20 },
    on: { 'message:new': (data) => page.log.push(['on', version, data]) },
    onMessage: (event) => page.log.push(['onMessage', version, event.data]),
    onOpen: () => page.log.push(['onOpen', version]),
    onClose: ({ reason }) => page.log.push(['onClose', version, reason]),
    onError: ({ attempt, final }) => page.log.push(['onError', attempt, final]),
  });
  page.sse = sse;
  return (
    <p id="chat">
      {sse.isConnected ? 'connected' : sse.isConnecting ? 'connecting' : 'closed'}{' '}
      {sse.events.map(({ data }) => data).join()} {String(sse.lastEvent?.data)} {sse.error?.kind ?? 'fine'}
    </p>
  );
}

function Room({ topic = 'presence' }) {
  const last = useEvent<string>('message:new');
  const [heard, hear] = useState(0);
  useEvent('message:new', () => hear((n) => n + 1));
  const { users, isOnline } = usePresence(topic, { load: async () => ['u1', 'u2'] });
  const { isConnected } = useSSE();
  return (
    <p id="room">
      {String(isConnected)} {String(last?.data)} {heard} {users.join('+')} {String(isOnline('u9'))}
    </p>
  );
}

let root: Root | undefined;
let without = () => {};
const host = () => document.body.querySelector('main') ?? document.body.appendChild(document.createElement('main'));
Object.assign(globalThis, {
  app: {
    chat: (options: SSEOptions & { version?: number }) =>
      (root ??= createRoot(host())).render(
        <StrictMode>
          <Chat {...options} />
        </StrictMode>,
      ),
    room: ({ topic, ...options }: SSEOptions & { topic?: string }) => {
      const render = (within: ReactElement | null) =>
        (root ??= createRoot(host())).render(
          <StrictMode>
            <SSEProvider {...options} fetch={counted}>
              {within}
            </SSEProvider>
          </StrictMode>,
        );
      render(topic ? <Room topic={topic} /> : <Room />);
      without = () => render(null);
    },
    without: () => without(),
    hydrate(html: string, options: SSEOptions) {
      host().innerHTML = html;
      root = hydrateRoot(
        host(),
        <StrictMode>
          <Chat {...options} />
        </StrictMode>,
        {
          onRecoverableError: (error) => page.complaints.push(String(error)),
        },
      );
    },
    unmount: () => (root?.unmount(), (root = undefined)),
    text: () => host().textContent,
  },
});
