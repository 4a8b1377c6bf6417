import { useCallback, useEffect, useRef, useState } from 'react';
import { SSEProvider, useEvent, useSSE } from '@sidestream/client/react';

export function Board({ room }) {
  const [messages, setMessages] = useState([]);
  const [client, setClient] = useState();

  // By the history and by the stream: each once, in order.
  const merge = useCallback((more) => {
    setMessages((before) => {
      const all = new Map([...before, ...more].map((message) => [message.id, message]));
      return [...all.values()].sort((a, b) => a.id - b.id);
    });
  }, []);
  const load = async () => merge(await (await fetch(`/api/messages?room=${encodeURIComponent(room)}`)).json());

  return (
    <SSEProvider
      url={`/events?room=${encodeURIComponent(room)}`}
      onConnect={({ client, resumed }) => {
        setClient(client);
        if (!resumed) load(); // the stream is open: what came before can be loaded
      }}
      onReset={load} // the page was away for longer than the log reaches
    >
      <header>
        <h1># {room}</h1>
        <Connection />
        <p>Open this page in two windows. What you write in one appears in the other.</p>
      </header>
      <Messages messages={messages} onMessage={merge} />
      <Typing />
      <Form room={room} client={client} />
    </SSEProvider>
  );
}

function Connection() {
  const { isConnected, isConnecting, error } = useSSE(); // of the provider
  const word = isConnected ? 'live' : error?.final ? 'offline' : isConnecting ? 'connecting' : 'reconnecting';
  return (
    <span id="state" className={`state ${word}`} role="status">
      {word}
    </span>
  );
}

function Messages({ messages, onMessage }) {
  useEvent('message:new', (message) => onMessage([message]));
  const list = useRef(null);
  useEffect(() => {
    list.current.scrollTop = list.current.scrollHeight;
  }, [messages]);

  return (
    <ol id="messages" ref={list} className="messages" tabIndex={0} aria-label="Messages" aria-live="polite" data-empty="Nothing here yet. Write the first message.">
      {messages.map(({ id, author, text, at }) => (
        <li key={id}>
          <b>{author}</b>
          <time dateTime={at}>{new Date(at).toLocaleTimeString([], { timeStyle: 'short' })}</time>
          <p>{text}</p>
        </li>
      ))}
    </ol>
  );
}

function Typing() {
  const [author, setAuthor] = useState();
  const timer = useRef();
  const show = (author) => {
    clearTimeout(timer.current);
    setAuthor(author);
    if (author) timer.current = setTimeout(setAuthor, 3000);
  };
  useEvent('typing', ({ author }) => show(author));
  useEvent('message:new', () => show());
  return (
    <p id="typing" className="note">
      {author ? `${author} is writing` : '\u00a0'}
    </p>
  );
}

function Form({ room, client }) {
  const [author, setAuthor] = useState(() => (sessionStorage.author ??= `guest-${Math.floor(Math.random() * 900 + 100)}`));
  const [text, setText] = useState('');
  const [problem, setProblem] = useState('');
  const told = useRef(0);

  const post = (path, body) =>
    fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }).catch(() => null);

  const write = (text) => {
    setText(text);
    if (!client || Date.now() - told.current < 2000) return;
    told.current = Date.now();
    post('/api/typing', { room, author, client });
  };

  const send = async (event) => {
    event.preventDefault();
    setText('');
    const answer = await post('/api/messages', { room, author, text });
    setProblem(answer?.ok ? '' : `Not sent: ${answer ? `the app answered ${answer.status}` : 'the app cannot be reached'}. Try again.`);
    if (!answer?.ok) setText(text); // it stays in the box
  };

  const rename = ({ target }) => setAuthor((sessionStorage.author = target.value));

  return (
    <>
      <form onSubmit={send}>
        <label className="short">
          Name <input id="author" value={author} onChange={rename} maxLength="40" autoComplete="off" required />
        </label>
        <label className="wide">
          Message <input id="text" value={text} onChange={({ target }) => write(target.value)} maxLength="2000" autoComplete="off" autoFocus required />
        </label>
        <button id="send" className="primary">Send message</button>
      </form>
      <p id="problem" className="problem" role="alert">{problem}</p>
    </>
  );
}
