// A table of any length: only the rows that are to be seen are drawn. Moved through by keys, sorted by its heads.

import { fill, h, count } from './dom.js';

let active = null;
/** The table that j, k and Enter are for. */
export const activeGrid = () => (active?.element.isConnected ? active : null);

/**
 * Columns: `key`, `title`, `cell(row)`, `sort(row)` where it can be sorted by, `num` for numbers, `area` for its place in
 * the two lines that a row has on a phone (a b over c d; none: left out there), `width` as CSS.
 */
export function grid({ label, columns, key, open, sort, onsort, noun }) {
  const narrow = matchMedia('(max-width: 700px)');
  const height = () => (narrow.matches ? 60 : 32);
  const id = `g${Math.random().toString(36).slice(2, 8)}`;
  let rows = [];
  let order = sort ?? '';
  let at = -1;
  let drawn = '';

  const head = h('div', { role: 'row', class: 'grid-row head' });
  const inner = h('div', { class: 'inner', role: 'rowgroup' });
  const body = h('div', {
    class: 'grid-body', onscroll: () => requestAnimationFrame(draw),
    onclick: (event) => {
      const row = event.target.closest('[data-at]');
      if (!row || event.target.closest('a')) return;
      select(+row.dataset.at);
      open?.(rows[at]);
    },
  }, inner);
  const total = h('p', { class: 'small mute', 'aria-live': 'polite' });
  const element = h('div', {
    class: 'grid', role: 'grid', tabindex: '0', 'aria-label': label, style: null,
    onfocus: () => (active = self),
    onkeydown: (event) => {
      const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -rows.length, End: rows.length };
      if (event.target !== element || !(event.key in moves)) return;
      event.preventDefault();
      move(moves[event.key]);
    },
  }, h('div', { role: 'rowgroup' }, head), body);
  const template = columns.map((column) => column.width ?? 'minmax(0, 1fr)').join(' ');
  element.style.setProperty('--columns', template);
  // Of a window that is not wide, those that a phone shows, too.
  element.style.setProperty('--fewer', columns.filter((column) => column.area).map((column) => column.width ?? 'minmax(0, 1fr)').join(' '));

  function heads() {
    fill(head, columns.map((column) => {
      const is = order.replace('-', '') === column.key;
      const sorted = is ? (order.startsWith('-') ? 'descending' : 'ascending') : column.sort ? 'none' : null;
      const press = () => {
        order = is && !order.startsWith('-') ? `-${column.key}` : is ? column.key : column.num ? `-${column.key}` : column.key;
        onsort?.(order);
        set(rows);
        heads();
      };
      const arrow = is ? (order.startsWith('-') ? ' \u2193' : ' \u2191') : '';
      return h('div', { role: 'columnheader', class: `cell ${column.num ? 'num' : ''} ${column.area ? `area-${column.area}` : 'wide'}`, 'aria-sort': sorted },
        column.sort ? h('button', { type: 'button', class: 'sort', onclick: press }, column.title, arrow) : column.title);
    }));
  }

  function set(all) {
    const selected = at >= 0 ? key(rows[at]) : null;
    const column = columns.find((one) => one.key === order.replace('-', ''));
    rows = [...all];
    if (column?.sort) {
      const sign = order.startsWith('-') ? -1 : 1;
      const keyed = rows.map((row) => [column.sort(row), row]);
      keyed.sort(([a], [b]) => (a < b ? -sign : a > b ? sign : 0));
      rows = keyed.map(([, row]) => row);
    }
    at = selected === null ? -1 : rows.findIndex((row) => key(row) === selected);
    element.setAttribute('aria-rowcount', rows.length + 1);
    total.textContent = count(rows.length, noun);
    drawn = '';
    draw();
  }

  function draw() {
    const high = height();
    inner.style.height = `${rows.length * high}px`;
    body.style.maxHeight = `max(260px, calc(100dvh - 240px))`;
    const from = Math.max(0, Math.floor(body.scrollTop / high) - 8);
    const to = Math.min(rows.length, Math.ceil((body.scrollTop + (body.clientHeight || 600)) / high) + 8);
    const now = `${from} ${to} ${at} ${high}`;
    if (now === drawn) return;
    drawn = now;
    const shown = [];
    for (let nth = from; nth < to; nth++) {
      const row = h('div', { role: 'row', id: `${id}-${nth}`, class: `grid-row${nth === at ? ' at' : ''}`, 'data-at': nth, 'aria-rowindex': nth + 2, 'aria-selected': nth === at ? 'true' : 'false' },
        columns.map((column) => h('div', { role: 'gridcell', class: `cell ${column.num ? 'num' : ''} ${column.area ? `area-${column.area}` : 'wide'}` }, column.cell(rows[nth]))));
      row.style.top = `${nth * high}px`;
      row.style.height = `${high}px`;
      shown.push(row);
    }
    fill(inner, shown);
    if (at >= from && at < to) element.setAttribute('aria-activedescendant', `${id}-${at}`);
    else element.removeAttribute('aria-activedescendant');
  }

  function select(nth) {
    at = nth;
    draw();
  }

  function move(by) {
    if (!rows.length) return;
    active = self;
    at = Math.min(Math.max(at + by, 0), rows.length - 1);
    const high = height();
    if (at * high < body.scrollTop) body.scrollTop = at * high;
    if ((at + 1) * high > body.scrollTop + body.clientHeight) body.scrollTop = (at + 1) * high - body.clientHeight;
    draw();
  }

  narrow.addEventListener('change', draw);
  new ResizeObserver(() => {
    drawn = '';
    draw();
  }).observe(body);
  heads();
  const self = { element, total, set, move, openSelected: () => at >= 0 && open?.(rows[at]) };
  active = self;
  return self;
}
