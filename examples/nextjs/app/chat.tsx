'use client';

import { useEffect, useRef, useState, type FormEvent } from 'react';
import type { Message } from './messages';

type State = 'connecting' | 'live' | 'reconnecting' | 'offline';

export function Chat({ conversationId }: { conversationId: string }) {
  const [messages, setMessages] = useState<Message[]>([]);
  const [state, setState] = useState<State>('connecting');
  const [author, setAuthor] = useState('');
  const [text, setText] = useState('');
  const [problem, setProblem] = useState('');
  const list = useRef<HTMLOListElement>(null);

  useEffect(() => {
    setAuthor((sessionStorage.author ??= `guest-${Math.floor(Math.random() * 900 + 100)}`));
  }, []);

  useEffect(() => {
    const query = new URLSearchParams({ conversationId });
    const merge = (more: Message[]) =>
      setMessages((before) => {
        const all = new Map([...before, ...more].map((message) => [message.id, message]));
        return [...all.values()].sort((a, b) => a.id - b.id);
      });
    const load = async () => merge(await (await fetch(`/api/chat/messages?${query}`)).json());

    const events = new EventSource(`/api/chat/stream?${query}`);
    events.addEventListener('message:new', (event) => merge([JSON.parse(event.data)]));
    events.addEventListener('open', load, { once: true }); // nothing is missed from here on
    events.addEventListener('reset', load); // the page was away for longer than the log reaches
    events.onopen = () => setState('live');
    events.onerror = () => setState(events.readyState === EventSource.CLOSED ? 'offline' : 'reconnecting');
    return () => events.close();
  }, [conversationId]);

  useEffect(() => {
    list.current!.scrollTop = list.current!.scrollHeight;
  }, [messages]);

  async function send(event: FormEvent) {
    event.preventDefault();
    setText('');
    const answer = await fetch('/api/chat/messages', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ conversationId, author, text }),
    }).catch(() => null);
    setProblem(answer?.ok ? '' : `Not sent: ${answer ? `the app answered ${answer.status}` : 'the app cannot be reached'}. Try again.`);
    if (!answer?.ok) setText(text); // it stays in the box
  }

  return (
    <>
      <header>
        <h1># {conversationId}</h1>
        <span id="state" className={`state ${state}`} role="status">
          {state}
        </span>
        <p>Open this page in two windows. What you write in one appears in the other.</p>
      </header>
      <ol id="messages" ref={list} className="messages" tabIndex={0} aria-label="Messages" aria-live="polite" data-empty="Nothing here yet. Write the first message.">
        {messages.map(({ id, author, text, at }) => (
          <li key={id}>
            <b>{author}</b>
            <time dateTime={at}>{new Date(at).toLocaleTimeString([], { timeStyle: 'short' })}</time>
            <p>{text}</p>
          </li>
        ))}
      </ol>
      <form onSubmit={send}>
        <label className="short">
          Name <input id="author" value={author} onChange={({ target }) => setAuthor((sessionStorage.author = target.value))} maxLength={40} autoComplete="off" required />
        </label>
        <label className="wide">
          Message <input id="text" value={text} onChange={({ target }) => setText(target.value)} maxLength={2000} autoComplete="off" autoFocus required />
        </label>
        <button id="send" className="primary">Send message</button>
      </form>
      <p id="problem" className="problem" role="alert">{problem}</p>
    </>
  );
}
