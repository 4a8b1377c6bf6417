// What is asked of the daemon, and what it says by itself: a snapshot a second.

/** What went wrong, in the daemon's own words. */
export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Asks `path` below /dashboard, and gives what is answered. */
export async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(`/dashboard${path}`, {
      method,
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
    });
  } catch {
    throw new Problem(0, 'sidestream cannot be reached: is it running, and is this page\u2019s address still right?');
  }
  const text = await answer.text();
  let said;
  try {
    said = JSON.parse(text);
  } catch {
    throw new Problem(answer.status, `not an answer of sidestream (status ${answer.status})`);
  }
  if (answer.status === 401 && path !== '/session') live.signedOut();
  if (!answer.ok) throw new Problem(answer.status, said.error ?? `status ${answer.status}`);
  return said;
}

export const get = (path) => ask('GET', path);
/** A question to one of the listener's own routes, such as /connections. */
export const api = (path, method = 'GET', body) => ask(method, `/api${path}`, body);
export const query = (parameters) => {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== '' && value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : '';
};

/** What the daemon says of itself, as it was heard last, and who wants to know. */
export const live = {
  snapshot: null,
  /** Ten minutes. */
  samples: [],
  connected: false,
  /** When it was heard last, and when it is tried again. */
  heard: null,
  again: null,
  may: 'read',
  identity: null,
  signedOut: () => {},
  listeners: new Set(),
  source: null,
  pause: 1000,

  listen(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  },

  tell() {
    for (const listener of this.listeners) listener(this);
  },

  open() {
    clearTimeout(this.timer);
    this.again = null;
    const source = (this.source = new EventSource('/dashboard/events'));
    // One that is neither open nor failed after a while is not coming.
    const watchdog = () => {
      clearTimeout(this.dog);
      this.dog = setTimeout(() => this.lost(source), 5000);
    };
    watchdog();
    source.addEventListener('history', ({ data }) => {
      this.samples = JSON.parse(data);
      watchdog();
    });
    source.addEventListener('snapshot', ({ data }) => {
      watchdog();
      this.snapshot = JSON.parse(data);
      const { sample } = this.snapshot;
      if (this.samples.at(-1)?.t !== sample.t) this.samples.push(sample);
      if (this.samples.length > 600) this.samples.shift();
      this.connected = true;
      this.heard = Date.now();
      this.pause = 1000;
      this.identity = this.snapshot.identity;
      this.tell();
    });
    source.onerror = () => this.lost(source);
  },

  lost(source) {
    if (source !== this.source) return;
    this.close();
    this.connected = false;
    this.again = Date.now() + this.pause;
    this.timer = setTimeout(() => this.retry(), this.pause);
    this.pause = Math.min(this.pause * 2, 15000);
    this.tell();
  },

  async retry() {
    const session = await ask('GET', '/session').catch(() => null);
    if (session && !session.may) return this.signedOut();
    if (session) this.open();
    else this.lost(this.source);
  },

  close() {
    clearTimeout(this.dog);
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  },
};
