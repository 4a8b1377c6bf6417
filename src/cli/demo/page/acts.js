// The code that stands beside each act: what the page does, what the backend does, and what was seen on the wire.
import { code } from '/look/copy.js';
import { LANGUAGES, REDIS_NOTE, page } from '/snippets.js';

const said = (from, text) => ({ topic: 'chat', event: 'message:new', data: { from, text } });

/** The acts: their name in the list, the words, the code of both sides. `wire` is what the last such act has shown. */
const ACTS = {
  message: {
    title: 'a message',
    words: 'What you write goes to the backend, which publishes it once. Both pages hear it, the sender’s too. The first line also loads the past after a reload.',
    first: ['The page, 6 lines', (context) => page(context.user)],
    event: ({ user }) => said(user, 'Hello'),
  },
  marks: {
    title: 'delivered and read',
    words: 'A page that has shown a message tells the backend, which publishes that. Of several such events that somebody has missed, the newest is enough: coalesce.',
    first: ['The page', () => `events.addEventListener('message:new', ({ lastEventId }) =>
  fetch('/api/marks', { method: 'POST', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ by: 'ben', mark: 'read', id: lastEventId }) }));`],
    event: () => ({ topic: 'chat', event: 'message:read', data: { by: 'ben', id: '…' }, coalesce: 'message:read:ben' }),
  },
  typing: {
    title: 'typing',
    words: 'Worth nothing a second later, so it is ephemeral: delivered now, never kept and never replayed.',
    first: ['The page', () => `events.addEventListener('typing', ({ data }) => showTyping(JSON.parse(data)));`],
    event: ({ user }) => ({ topic: 'chat', event: 'typing', data: { user, on: true }, ephemeral: true }),
  },
  online: {
    title: 'online and offline',
    words: 'sidestream knows who has a stream, and publishes who comes and goes. Close a window and wait for two seconds: the grace.',
    first: ['The page', () => `events.addEventListener('user:online', ({ data }) => showOnline(JSON.parse(data)));
events.addEventListener('user:offline', ({ data }) => showOffline(JSON.parse(data)));`],
    second: ['sidestream.toml', () => `[presence]
topics = ["friends-of:{user}"]
grace = "2s"`],
  },
  cut: {
    title: 'a cut line',
    words: 'The connection is reset on its way, as a network does it, and does not get through again until you mend it. Nothing in page or backend is written for that: the browser comes back by itself and names the last id that it has.',
    first: ['What the browser sent when it came back', ({ wire }) => wire.cut ?? 'Cut a line, write something, and mend it: then this shows what went over the wire.'],
    second: ['The backend', () => '// No line. It published, and did not know who was there.'],
  },
  restart: {
    title: 'a restart',
    words: 'The daemon in this process stops, listeners and streams and all, is away for a second, and starts again. Its log stays in this process: so it is with the log in Redis, over any restart and on every instance. With the log in memory alone a restart begins a new one, and each page gets a reset event.',
    first: ['What the pages saw', ({ wire }) => wire.restart ?? 'Restart the server: then this shows what went over the wire.'],
    second: ['sidestream.toml', () => `[redis]
url = "redis://127.0.0.1:6379"

[redis.stream]     # the log is a Redis stream, and survives`],
  },
  slow: {
    title: 'a slow reader',
    words: 'This line now carries 8 KB a second, and the backend publishes 300 events in one request. The other page has them at once; the slow one costs the server a position in the log, not a queue of its own.',
    first: ['What was measured', ({ wire }) => wire.slow ?? 'Slow a reader: then this shows both pages’ numbers.'],
    event: () => [{ topic: 'chat', event: 'tick', data: { n: 1, of: 300 } }, { topic: 'chat', event: 'tick', data: { n: 2, of: 300 } }],
  },
  load: {
    title: '1,000 readers',
    words: 'A thousand streams over loopback, read by two threads of this process; the backend publishes ten events a second to all of them for twelve seconds. The times are the readers’ own: from the publish to the event having been read.',
    first: ['A reader', ({ about }) => `curl -N ${about.public}/load`],
    event: () => ({ topic: 'load', event: 'load', data: 'now' }),
  },
  terminal: {
    title: 'a terminal',
    words: 'Paste the second one into a terminal: both pages hear it. The first shows there what Anna’s page hears. The key was drawn when this demo started.',
    first: ['Hear', ({ about }) => `curl -N '${about.public}/events?user=anna'`],
    second: ['Send', null],
    event: () => said('terminal', 'Hello from a terminal'),
  },
};

export class Beside {
  #wire = {};

  constructor(about, user) {
    this.about = about;
    this.user = user;
    const at = (id) => document.getElementById(id);
    this.act = at('act');
    this.language = at('language');
    for (const [value, { title }] of Object.entries(ACTS)) this.act.add(new Option(title, value));
    for (const name of Object.keys(LANGUAGES)) this.language.add(new Option(name));
    this.language.value = 'Node';
    this.act.onchange = this.language.onchange = () => this.draw();
    this.draw();
  }

  /** Shows the code of an act; by `language`, if one is named. */
  show(act, language) {
    this.act.value = act;
    if (language) this.language.value = language;
    this.draw();
  }

  /** Notes what an act has shown on the wire. */
  saw(act, text) {
    this.#wire[act] = text;
    if (this.act.value === act) this.draw();
  }

  draw() {
    const act = ACTS[this.act.value];
    const context = { about: this.about, user: this.user, wire: this.#wire };
    const at = (id) => document.getElementById(id);
    at('words').textContent = act.words;
    at('first-title').textContent = act.first[0];
    at('first').replaceChildren(block(act.first[1](context)));
    const event = act.event?.(context);
    // Redis takes one event in a message.
    const one = this.language.value === 'redis-cli' && Array.isArray(event) ? event[0] : event;
    const [title, text] = act.second ?? ['The backend, 3 lines', null];
    at('second-title').textContent = title;
    at('second').replaceChildren(block(text ? text(context) : LANGUAGES[this.language.value](this.about, one)));
    at('note').textContent = !text && this.language.value === 'redis-cli' ? REDIS_NOTE : '';
    this.language.disabled = Boolean(text);
  }
}

/** Code whose long lines go on indented. */
function block(text) {
  const figure = code(text, { wrap: true });
  const lines = text.split('\n').map((line, at, all) => {
    const span = document.createElement('span');
    span.className = 'code-line';
    span.textContent = at < all.length - 1 ? `${line}\n` : line;
    return span;
  });
  figure.querySelector('pre').replaceChildren(...lines);
  return figure;
}

/** What the browser sent when it came back, and what it got: the request is EventSource's own, so its id is the one that it had. */
export function wireOfResume(phone, had, info) {
  return `GET /events?user=${phone.user}&history=100
Last-Event-ID: ${had}

event: connected
data: {"user":"${info.user}","resumed":${info.resumed},"missed":${info.missed}, …}`;
}
