import { useState } from 'react';
import { createRoot } from 'react-dom/client';
import { useSSE } from './useSSE.js';

const query = new URLSearchParams(location.search);
const userId = query.get('userId') ?? 'ada';
const sessionId = query.get('sessionId') ?? (sessionStorage.sessionId ??= `session-${Math.floor(Math.random() * 1e6)}`);

function Desk() {
  const { isConnected, isConnecting, error, lastEvent, events, connect, disconnect, clearEvents } = useSSE({
    url: `/sse/connect?userId=${userId}&sessionId=${sessionId}`,
    reconnectInterval: 300,
    maxReconnectAttempts: 100,
    onOpen: () => loadStats(),
  });
  const [stats, setStats] = useState(null);
  const [text, setText] = useState('');

  async function loadStats() {
    setStats(await (await fetch('/sse/stats')).json());
  }

  const notify = (target, id) =>
    fetch('/api/notify', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ target, id, text }),
    });

  const word = isConnected ? 'live' : isConnecting ? (error ? 'reconnecting' : 'connecting') : 'offline';
  return (
    <>
      <header>
        <h1>Desk of {userId}</h1>
        <span id="state" className={`state ${word}`} role="status">{word}</span>
        <p>
          Session {sessionId}. Open it for other users and sessions, too: <code>?userId=bob&amp;sessionId=s2</code>
        </p>
      </header>
      <dl className="numbers">
        <div><dt>Streams</dt><dd id="total">{stats?.total ?? '–'}</dd></div>
        <div><dt>Heard</dt><dd id="heard">{events.length}</dd></div>
        <div><dt>Last</dt><dd id="last">{lastEvent?.type ?? '–'}</dd></div>
      </dl>
      <ol id="events" className="messages" aria-live="polite" data-empty="Nothing heard yet.">
        {events.map(({ type, data }, index) => (
          <li key={index}>
            <b>{type}</b>
            <p>{data.text}</p>
          </li>
        ))}
      </ol>
      <form onSubmit={(event) => event.preventDefault()}>
        <label className="wide">
          Text <input id="text" value={text} onChange={({ target }) => setText(target.value)} autoComplete="off" />
        </label>
        <button id="to-user" onClick={() => notify('user', userId)}>Tell my sessions</button>
        <button id="to-session" onClick={() => notify('session', sessionId)}>Tell this session</button>
        <button id="to-all" className="primary" onClick={() => notify('all')}>Tell everybody</button>
      </form>
      <p className="row">
        <button id="connect" onClick={connect}>Connect</button>
        <button id="disconnect" onClick={disconnect}>Disconnect</button>
        <button id="clear" onClick={clearEvents}>Clear events</button>
        <button id="refresh" onClick={loadStats}>Count streams</button>
      </p>
    </>
  );
}

createRoot(document.getElementById('app')).render(<Desk />);
