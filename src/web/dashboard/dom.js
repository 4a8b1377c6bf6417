// Elements and the way numbers and times are written. Whatever is shown is put in as text.

/** An element: `on…` are listeners, `class` its class, the rest attributes; children are nodes, texts, or nothing. */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'value' || name === 'checked') element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...nodes(children));
  return element;
}

const nodes = (children) =>
  children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

/** Puts `children` in the place of all that `element` held. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

/** Shows `text` if it is another one: an element that stays the same keeps a selection, and is not read out again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A name that somebody chose: apart from what stands around it, and cut when it is very long. */
export const name = (text, props) => h('bdi', { class: 'name', title: text.length > 40 ? text : null, ...props }, text);

/** A number beside its unit. */
export const unit = (number, word) => [number, ' ', h('span', { class: 'unit' }, word)];

/** In tables and sentences: 12 480, with thin spaces. */
export const whole = (number) => Math.round(number).toString().replace(/\B(?=(\d{3})+(?!\d))/g, '\u202f');

/** In tiles: 12.4 k, 3.1 M. */
export function short(number) {
  for (const [from, word] of [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']]) {
    if (number >= from) return `${(number / (word === 'k' ? 1e3 : from)).toFixed(1).replace('.0', '')}\u202f${word}`;
  }
  return number >= 100 || Number.isInteger(number) ? whole(number) : number.toFixed(1);
}

export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const [scale, word] = bytes < 1e6 ? [1e3, 'kB'] : bytes < 1e9 ? [1e6, 'MB'] : [1e9, 'GB'];
  return `${(bytes / scale).toFixed(1)} ${word}`;
}

/** Milliseconds in three digits at most. */
export const ms = (time) => (time === null || time === undefined ? '–' : time < 10 ? time.toFixed(1) : whole(time));

/** 3 m 12 s */
export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const parts = [[Math.floor(s / 86400), 'd'], [Math.floor(s / 3600) % 24, 'h'], [Math.floor(s / 60) % 60, 'm'], [s % 60, 's']];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return '0 s';
  return parts.slice(first, first + 2).filter(([count], nth) => nth === 0 || count > 0).map(([count, word]) => `${count} ${word}`).join(' ');
}

export const clock = (at) => new Date(at).toLocaleTimeString('en-GB');

/** A time: relative within a day, exact on hover. */
export function when(at) {
  const time = new Date(at);
  const seconds = (Date.now() - time) / 1000;
  const text = seconds < 86400 ? `${span(seconds)} ago` : time.toLocaleString('en-GB');
  return h('time', { datetime: time.toISOString(), title: time.toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'long' }) }, text);
}

/** `1 stream`, `2 streams`. */
export const count = (number, word) => `${whole(number)} ${word}${number === 1 ? '' : 's'}`;

/** A state: a shape beside its word. */
export const state = (kind, ...words) => h('span', { class: `state ${kind}` }, h('span', null, words));

/** A dialog that is gone when it is closed. Closes with Esc and by its button. */
export function dialog(title, ...children) {
  const box = h('dialog', { 'aria-labelledby': 'dialog-title', onclose: () => box.remove() },
    h('div', { class: 'row head' }, h('h2', { id: 'dialog-title' }, title),
      h('button', { type: 'button', class: 'push', onclick: () => box.close() }, 'Close', h('span', { class: 'sr-only' }, ' this window'))),
    children);
  document.body.append(box);
  box.showModal();
  return box;
}

/** Label, value: rows of a list. */
export const facts = (pairs) =>
  h('dl', { class: 'facts' }, pairs.filter(Boolean).map(([label, ...value]) => [h('dt', null, label), h('dd', null, value)]));

/** A card that says what goes here and how it gets here. */
export const empty = (title, ...children) => h('div', { class: 'card empty stack' }, h('h3', null, title), children);
