// Topics: who reads them, how much comes, and the events of one of them as they come.

import { count, dialog, empty, facts, fill, h, name, say, size, state, unit, whole, when } from './dom.js';
import { get, live, query } from './api.js';
import { field } from './streams.js';
import { grid } from './grid.js';

/** How many events of a topic stay to be seen. */
const SHOWN = 200;

export function topics({ parameters, remember }) {
  let stopped = false;
  let timer;
  let open = null;
  const filter = h('input', { id: 'filter', type: 'search', autocomplete: 'off', spellcheck: 'false', value: parameters.q ?? '', placeholder: 'A part of the topic\u2019s name', 'aria-label': 'Filter topics', oninput: () => {
    remember({ q: filter.value });
    clearTimeout(timer);
    timer = setTimeout(load, 200);
  } });
  const note = h('p', { class: 'small mute', 'aria-live': 'polite' });
  const place = h('div');
  const panel = h('div', { hidden: true });
  const table = grid({
    label: 'Topics', noun: 'topic', key: (one) => `${one.pattern ? 'pattern' : 'topic'} ${one.topic}`, sort: parameters.sort ?? '-streams', onsort: (sort) => remember({ sort }), open: (one) => !one.pattern && show(one.topic),
    columns: [
      { key: 'topic', title: 'Topic', area: 'a', width: 'minmax(0, 2fr)', sort: (one) => one.topic, cell: (one) => h('span', { class: 'cut' }, name(one.topic), one.pattern ? h('span', { class: 'mute' }, ' (pattern)') : null) },
      { key: 'streams', title: 'Readers', num: true, area: 'b', width: '100px', sort: (one) => one.streams, cell: (one) => (one.streams ? whole(one.streams) : h('span', { class: 'mute' }, 'none')) },
      { key: 'rate', title: 'Events', num: true, area: 'd', width: '110px', sort: (one) => one.rate, cell: (one) => unit(one.rate ? one.rate.toFixed(1) : '0', '/s') },
      { key: 'last', title: 'Last event', num: true, area: 'c', width: '140px', sort: (one) => one.last ?? 0, cell: (one) => (one.last ? when(one.last) : h('span', { class: 'mute' }, 'none kept')) },
    ],
  });
  const element = h('div', { class: 'stack' }, h('div', { class: 'row bar' }, h('div', { class: 'grow' }, filter), h('button', { type: 'button', onclick: load }, 'Refresh')), note, panel, place);

  async function load() {
    try {
      const page = await get(`/topics${query({ search: filter.value, limit: 1000 })}`);
      if (stopped) return;
      if (!page.topics.length) {
        fill(place, filter.value ? empty('No topic has this in its name.', h('p', null, 'A topic is here while a stream holds it, or while the log keeps events of it. ', h('a', { href: `#/topics${query({ open: filter.value })}` }, 'Watch ', name(filter.value), ' all the same'))) : empty('Nobody listens yet, and nothing was published.',
          h('p', null, 'A topic needs no set-up: it is there as soon as a stream asks for it or an event names it. ', h('a', { href: '#/streams' }, 'Open a stream'), ', or ', h('a', { href: '#/publish' }, 'publish an event'), '.')));
        return;
      }
      if (place.firstChild !== table.element) fill(place, table.element, table.total);
      table.set(page.topics);
      if (page.total > page.topics.length) say(table.total, `${whole(page.topics.length)} of ${whole(page.total)} topics: those with the most readers. Filter to see others.`);
      fill(note, page.complete ? null : `Not every instance has answered: ${page.silent.map((one) => one.name).join(', ')}.`);
    } catch (problem) {
      if (!stopped) fill(note, h('span', { class: 'error' }, problem.message));
    }
  }

  function show(topic) {
    open?.stop();
    remember({ open: topic });
    open = watch(topic, () => {
      open = null;
      panel.hidden = true;
      fill(panel);
      remember({ open: '' });
    });
    panel.hidden = false;
    fill(panel, open.element);
    panel.scrollIntoView({ block: 'nearest' });
  }

  load();
  if (parameters.open) show(parameters.open);
  const ticking = setInterval(() => live.connected && !document.hidden && load(), 2000);
  return { element, stop: () => ((stopped = true), clearInterval(ticking), open?.stop()) };
}

/** A topic's events, newest on top, as they come. */
function watch(topic, close) {
  const list = h('ol', { class: 'plain events', 'aria-label': 'Events, newest first' });
  const status = h('span', { role: 'status' }, state('warn', 'connecting'));
  const readers = h('a', { href: `#/streams${query({ q: field('topic', topic) })}` }, 'its streams');
  let held = [];
  let paused = false;
  const pause = h('button', { type: 'button', onclick: () => {
    paused = !paused;
    say(pause, paused ? 'Go on' : 'Pause');
    if (!paused) add(held.splice(0));
  } }, 'Pause');
  const nothing = h('p', { class: 'hint' }, 'The log keeps no event of this topic. The next one appears here. ', h('a', { href: `#/publish${query({ name: topic })}` }, 'Publish one'), '.');
  const element = h('section', { class: 'card stack', 'aria-label': 'A topic, live' },
    h('div', { class: 'row' }, h('h2', { class: 'grow cut' }, name(topic)), status),
    h('div', { class: 'row' }, readers, h('a', { href: `#/publish${query({ name: topic })}` }, 'Publish on it'), h('span', { class: 'push' }), pause, h('button', { type: 'button', onclick: () => (stop(), close()) }, 'Close topic')), nothing, list);

  function add(events) {
    nothing.hidden = nothing.hidden || events.length > 0;
    list.prepend(...events.map(row).reverse());
    while (list.children.length > SHOWN) list.lastChild.remove();
  }

  const source = new EventSource(`/dashboard/live/${encodeURIComponent(topic)}`);
  source.addEventListener('live', () => fill(status, state('good', 'live')));
  source.addEventListener('events', ({ data }) => {
    const page = JSON.parse(data);
    say(readers, `${count(page.readers, 'reader')} here`);
    const events = page.events.map((event) => ({ ...event, readers: page.readers }));
    if (page.reset) events.unshift({ reset: page.reset });
    if (paused) held = [...held, ...events].slice(-SHOWN);
    else add(events);
  });
  source.onerror = () => fill(status, state('warn', source.readyState === EventSource.CLOSED ? 'ended' : 'cut, trying again'));
  const stop = () => source.close();
  return { element, stop };
}

function row(event) {
  if (event.reset) return h('li', { class: 'came' }, state('warn', `events before this one are missing here (${event.reset})`));
  const data = h('pre', { class: 'data', tabindex: '0' });
  const long = event.data.length > 2000;
  const full = pretty(event.data);
  data.textContent = long ? `${full.slice(0, 2000)}\u2026` : full;
  const more = long ? h('button', { type: 'button', class: 'link', onclick: () => ((data.textContent = full + (event.size > event.data.length ? '\u2026' : '')), more.remove()) }, `Show ${size(event.size)}${event.size > 65536 ? ' (the first 64 kB)' : ''}`) : null;
  return h('li', { class: 'came' }, h('div', { class: 'row about' }, h('b', { class: 'name' }, event.event ?? 'message'), h('code', { class: 'mute' }, event.id),
    h('span', { class: 'mute push' }, size(event.size), ' \u00b7 ', count(event.readers, 'reader'), ' \u00b7 ', when(event.at))), data, more);
}

/** JSON laid out; anything else as it is. */
export function pretty(text) {
  try {
    const value = JSON.parse(text);
    const lines = JSON.stringify(value, null, 2);
    if (typeof value !== 'object' || value === null) return text;
    // What fits into a line is one.
    return lines.length > 120 ? lines : lines.replace(/\n\s*/g, ' ');
  } catch {
    return text;
  }
}
