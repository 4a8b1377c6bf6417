// What only pages have, for a client that runs in Node.

/** A page for what only pages have; taken away again at the end. */
export function page() {
  const events = new EventTarget();
  const document = Object.assign(new EventTarget(), { hidden: false });
  const store = new Map<string, string>();
  const before = Object.fromEntries(
    ['addEventListener', 'document', 'sessionStorage'].map((name) => [name, (globalThis as any)[name]]),
  );
  Object.assign(globalThis, {
    addEventListener: events.addEventListener.bind(events),
    document,
    sessionStorage: {
      getItem: (key: string) => store.get(key) ?? null,
      setItem: (key: string, value: string) => store.set(key, value),
    },
  });
  return {
    store,
    window: (type: string) => events.dispatchEvent(new Event(type)),
    document: (type: string, hidden = document.hidden) => {
      document.hidden = hidden;
      document.dispatchEvent(new Event(type));
    },
    [Symbol.dispose]: () => Object.assign(globalThis, before),
  };
}
