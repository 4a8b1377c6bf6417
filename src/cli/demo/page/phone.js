// One person's chat: a stream, what it shows, and what is typed. Everything shown came over the stream; what is typed goes
// to the backend, which publishes it.

export const NAMES = { anna: 'Anna', ben: 'Ben' };
/** How much of the past a new stream begins with. */
const HISTORY = 100;
const READ_AFTER = 700;
const TYPING_AGAIN = 2000;
const TYPING_LASTS = 4000;
/** A hidden page lets go of its stream, so that several windows do not use up the browser's six connections. */
const HIDDEN = 20_000;

/** When this browser sent its messages, by their keys. */
const sentAt = new Map();

/** Whether the id `a` comes after `b`; an id of nothing comes before all. */
export function after(a, b) {
  const part = (id, at) => Number((id || '0-0').split('-')[at]);
  return part(a, 0) - part(b, 0) > 0 || (part(a, 0) === part(b, 0) && part(a, 1) > part(b, 1));
}

export async function post(path, body) {
  const response = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.error), { status: response.status });
  return answer;
}

export class Phone {
  source = null;
  lastId = '';
  connected = false;
  cut = false;
  /** Of the events that follow, how many belong to the past, and whether this page missed them. */
  #replay = { left: 0, missed: false };
  /** Up to which id the other one has got and read what this one wrote; and this one what the other one wrote. */
  #theirs = { delivered: '', read: '' };
  #mine = { delivered: '', read: '' };
  #toMark = '';
  #typedAt = 0;
  #timers = {};

  /** `heard` is called with each event, `opened` with the data of `connected`, `lost` when the stream breaks. */
  constructor(user, place, { heard, opened, lost }) {
    this.user = user;
    this.other = user === 'anna' ? 'ben' : 'anna';
    Object.assign(this, { heard, opened, lost });
    const root = document.getElementById('phone').content.cloneNode(true).firstElementChild;
    const get = (selector) => root.querySelector(selector);
    Object.assign(this, { root, list: get('.messages'), input: get('input'), otherState: get('.other'), state: get('.line') });
    root.dataset.user = user;
    root.setAttribute('aria-label', `${NAMES[user]}’s page`);
    get('h2').textContent = `${NAMES[user]}’s page`;
    this.list.setAttribute('aria-label', `What ${NAMES[user]} sees`);
    this.input.setAttribute('aria-label', `${NAMES[user]} writes`);
    this.input.placeholder = `Write as ${NAMES[user]}`;
    this.input.addEventListener('input', () => this.#typing());
    get('form').addEventListener('submit', (submit) => this.#send(submit));
    document.addEventListener('visibilitychange', () => this.#visible());
    new ResizeObserver(() => this.#scroll()).observe(this.list);
    this.showOther(null);
    place.append(root);
    this.open();
  }

  open() {
    this.close();
    const query = new URLSearchParams({ user: this.user, history: HISTORY });
    // The browser sends the last id by itself when it reconnects; a new EventSource has to be given it.
    if (this.lastId) query.set('lastEventId', this.lastId);
    const source = (this.source = new EventSource(`/events?${query}`));
    const on = (name, act) =>
      source.addEventListener(name, (event) => {
        if (source === this.source) act(event, event.data ? JSON.parse(event.data) : {});
      });
    on('connected', (event, info) => this.#opened(event, info));
    on('message:new', (event, data) => this.#stored(event, data, (kind) => this.#message(event, data, kind)));
    on('message:delivered', (event, data) => this.#stored(event, data, () => this.#marked('delivered', data)));
    on('message:read', (event, data) => this.#stored(event, data, () => this.#marked('read', data)));
    on('user:online', (event, data) => this.#stored(event, data, () => this.showOther(true)));
    on('user:offline', (event, data) => this.#stored(event, data, () => this.showOther(false)));
    on('tick', (event, data) => this.#stored(event, data, () => {}));
    on('typing', (event, data) => this.#othersTyping(event, data));
    on('demo:load', (event, data) => this.heard(this, { name: 'demo:load', data, kind: 'live' }));
    on('closing', (event, data) => this.#note(`The server closed this stream: ${data.reason}. It comes back by its id.`));
    on('reset', (event, data) => this.#note(`The log no longer has what was missed (${data.reason}): an application loads its state again.`));
    on('error', () => this.#broken());
    this.show('connecting', 'off');
  }

  close() {
    this.source?.close();
    this.source = null;
    this.connected = false;
    clearTimeout(this.#timers.reopen);
  }

  /** What the line is like, in a word. */
  show(word, kind) {
    this.state.className = `line state ${kind}`;
    this.state.textContent = word;
    this.root.classList.toggle('away', !this.connected);
  }

  /** Whether the other one is online; null when nobody knows. */
  showOther(online) {
    this.online = online;
    clearTimeout(this.#timers.typing);
    const words = online === null ? 'is somewhere' : online ? 'is online' : 'is offline';
    this.otherState.className = `other state ${online ? 'good' : 'off'}`;
    this.otherState.textContent = `${NAMES[this.other]} ${words}`;
  }

  putCut(cut) {
    this.cut = cut;
    this.input.disabled = cut;
    this.root.querySelector('button').disabled = cut;
    if (cut) this.show('line cut', 'bad');
  }

  #opened(event, info) {
    this.connected = true;
    this.putCut(false);
    this.#replay = { left: info.missed, missed: info.resumed };
    if (!info.resumed) {
      this.list.replaceChildren();
    }
    if (event.lastEventId) this.lastId = event.lastEventId;
    this.show('connected', 'good');
    this.opened(this, info, event.lastEventId);
    this.#catchUp();
  }

  #broken() {
    const was = this.connected;
    this.connected = false;
    if (this.source.readyState === EventSource.CLOSED) {
      // Not the browser's to mend any more: after a status, and in Firefox after some cuts.
      this.#timers.reopen = setTimeout(() => this.open(), 1000);
    }
    if (this.cut) this.show('line cut', 'bad');
    else this.show('reconnecting', 'warn');
    if (was) this.lost(this);
  }

  /** An event of the log: it has an id, and belongs to the past as long as there is some left. */
  #stored(event, data, act) {
    const { left, missed } = this.#replay;
    const kind = left === 0 ? 'live' : missed ? 'missed' : 'history';
    if (left > 0) this.#replay.left -= 1;
    const inOrder = after(event.lastEventId, this.lastId);
    this.lastId = event.lastEventId;
    act(kind);
    const sent = data.key && sentAt.get(data.key);
    const ms = sent && kind === 'live' ? performance.now() - sent : undefined;
    this.heard(this, { name: event.type, id: event.lastEventId, data, kind, ms, inOrder, left: this.#replay.left });
    if (left === 1 && !missed) this.#catchUp();
  }

  #message(event, { from, text, key }, kind) {
    const id = event.lastEventId;
    const mine = from === this.user;
    const item = document.createElement('li');
    item.className = `${mine ? 'mine' : 'theirs'} ${kind === 'history' ? '' : 'came'}`;
    item.dataset.id = id;
    const body = document.createElement('p');
    body.dir = 'auto';
    body.textContent = typeof text === 'string' ? text : JSON.stringify(text ?? null);
    const about = document.createElement('small');
    about.className = 'about';
    item.append(body, about);
    if (!mine && !(from in NAMES)) item.prepend(label(`from ${from ?? 'nobody'}`));
    if (kind === 'missed') item.prepend(label('↻ sent while away'));
    this.list.querySelector(`[data-key="${CSS.escape(key ?? '')}"]`)?.remove();
    this.list.append(item);
    while (this.list.children.length > 200) this.list.firstElementChild.remove();
    const sent = key && sentAt.get(key);
    item.dataset.about = clock(id) + (sent && kind === 'live' ? ` · ${milliseconds(performance.now() - sent)}` : '');
    this.#showMarks();
    this.#scroll();
    if (from === this.other) {
      this.showOther(this.online);
      this.#toMark = id;
      if (this.#replay.left <= 1) this.#catchUp();
    }
  }

  /** Tells the sender of the newest message that it is here, and a moment later that it was seen. */
  #catchUp() {
    const id = this.#toMark;
    if (!id || !this.connected) return;
    if (after(id, this.#mine.delivered)) {
      this.#mine.delivered = id;
      this.#mark('delivered', id);
    }
    clearTimeout(this.#timers.read);
    this.#timers.read = setTimeout(() => {
      if (document.visibilityState !== 'visible' || !this.connected || !after(id, this.#mine.read)) return;
      this.#mine.read = id;
      this.#mark('read', id);
    }, READ_AFTER);
  }

  #mark(mark, id) {
    post('/api/marks', { by: this.user, mark, id }).catch(() => {
      // The next message is marked with this one.
      this.#mine[mark] = '';
    });
  }

  #marked(mark, { by, id }) {
    const side = by === this.user ? this.#mine : this.#theirs;
    if (after(id, side[mark])) side[mark] = id;
    if (by !== this.user) this.#showMarks();
  }

  #showMarks() {
    for (const item of this.list.querySelectorAll('[data-id]')) {
      const id = item.dataset.id;
      const upTo = (mark) => this.#theirs[mark] && !after(id, this.#theirs[mark]);
      const mark = upTo('read') ? 'read' : upTo('delivered') ? 'delivered' : 'sent';
      const about = item.querySelector('.about');
      const mine = item.classList.contains('mine');
      about.textContent = item.dataset.about + (mine ? ` · ${mark === 'sent' ? '✓' : '✓✓'} ${mark}` : '');
      about.classList.toggle('read', mine && mark === 'read');
    }
  }

  #typing() {
    const now = performance.now();
    clearTimeout(this.#timers.typed);
    const stop = () => {
      this.#typedAt = 0;
      post('/api/typing', { user: this.user, on: false }).catch(() => {});
    };
    this.#timers.typed = setTimeout(stop, TYPING_AGAIN + 500);
    if (now - this.#typedAt < TYPING_AGAIN && this.#typedAt) return;
    this.#typedAt = now;
    post('/api/typing', { user: this.user, on: true }).catch(() => {});
  }

  #othersTyping(event, data) {
    this.heard(this, { name: 'typing', data, kind: 'live' });
    if (data.user !== this.other) return;
    if (!data.on) return this.showOther(true);
    this.showOther(true);
    this.otherState.textContent = `${NAMES[this.other]} is typing …`;
    this.#timers.typing = setTimeout(() => this.showOther(this.online), TYPING_LASTS);
  }

  async #send(submit) {
    submit.preventDefault();
    const text = this.input.value;
    if (!text.trim()) return;
    this.input.value = '';
    this.#typedAt = 0;
    clearTimeout(this.#timers.typed);
    const key = random();
    const began = performance.now();
    sentAt.set(key, began);
    // While the server is away the page keeps what was written, and sends it again under the same key.
    while (performance.now() - began < 30_000) {
      try {
        await post('/api/messages', { from: this.user, text, key });
        return;
      } catch (error) {
        if (error.status && error.status < 500) return this.#note(`Not sent: ${error.message}`);
        this.#waiting(key, text);
        await new Promise((resolve) => setTimeout(resolve, 400));
      }
    }
    this.list.querySelector(`[data-key="${key}"]`)?.remove();
    this.#note(`Not sent: “${text}”. The server did not answer for half a minute.`);
  }

  #waiting(key, text) {
    if (this.list.querySelector(`[data-key="${key}"]`)) return;
    const item = document.createElement('li');
    item.className = 'mine waiting';
    item.dataset.key = key;
    const body = document.createElement('p');
    body.dir = 'auto';
    body.textContent = text;
    item.append(body, label('◐ waits for the server'));
    this.list.append(item);
    this.#scroll();
  }

  #note(text) {
    const item = document.createElement('li');
    item.className = 'note';
    item.textContent = text;
    this.list.append(item);
    this.#scroll();
  }

  #scroll() {
    this.list.scrollTop = this.list.scrollHeight;
  }

  #visible() {
    clearTimeout(this.#timers.hidden);
    if (document.visibilityState === 'hidden') {
      this.#timers.hidden = setTimeout(() => {
        this.close();
        this.show('paused while hidden', 'warn');
      }, HIDDEN);
    } else if (!this.source) {
      this.open();
    } else {
      this.#catchUp();
    }
  }
}

export function milliseconds(ms) {
  return ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function label(text) {
  const small = document.createElement('small');
  small.className = 'label';
  small.textContent = text;
  return small;
}

/** When an event was published: its id begins with that. */
function clock(id) {
  return new Date(Number(id.split('-')[0])).toLocaleTimeString([], { hour12: false });
}

/** A page over plain HTTP has no `crypto.randomUUID` beyond loopback. */
function random() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join('');
}
