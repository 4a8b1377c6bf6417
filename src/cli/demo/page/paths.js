// The line from the backend to the pages, drawn as the mark: it parts into three, the lowest of them dotted. Each event
// that arrives somewhere travels on it as a dot; what a cut or slow line has still to bring waits in front of that place.
import { milliseconds } from '/phone.js';

const SVG = 'http://www.w3.org/2000/svg';
/** How long a dot takes, however fast the event was. */
const TRAVEL = 550;
/** Dots on their way at once; the load's events are more than can be seen. */
const MOST = 40;
/** How many of those that wait are drawn, and how far apart. */
const QUEUE = 8;
const APART = 11;
/** How wide the gap of a cut line is. */
const GAP = 16;

const still = matchMedia('(prefers-reduced-motion: reduce)');

export class Paths {
  #lines = new Map();
  #travelling = 0;

  constructor(root) {
    this.root = root;
    this.svg = root.querySelector('svg');
    for (const branch of root.querySelectorAll('.branch')) {
      const reader = branch.dataset.reader;
      const path = make('path', `branch-line ${reader}`);
      const rest = make('path', `branch-line rest ${reader}`);
      const waiting = make('g', 'waiting');
      this.svg.append(path, rest, waiting);
      const line = { branch, path, rest, waiting, end: branch.querySelector('.end .state'), time: branch.querySelector('.time') };
      this.#lines.set(reader, { ...line, cut: false, count: 0 });
    }
    this.dots = make('g', 'dots');
    this.svg.append(this.dots);
    new ResizeObserver(() => this.#draw()).observe(root);
  }

  /** What stands at a line's end. */
  show(reader, text, kind) {
    const { end } = this.#lines.get(reader);
    end.className = `state ${kind}`;
    end.textContent = text;
  }

  time(reader, text) {
    this.#lines.get(reader).time.textContent = text;
  }

  /** Draws a line as cut, or whole again. */
  cut(reader, cut) {
    const line = this.#lines.get(reader);
    if (line.cut === cut) return;
    line.cut = cut;
    this.#draw();
  }

  /** How many events wait in front of the place where a line is cut or slow. */
  wait(reader, count) {
    const line = this.#lines.get(reader);
    if (line.count === count) return;
    line.count = count;
    this.#drawWaiting(line);
  }

  /** An event that has arrived; from the place where it had waited, if it had. */
  travel(reader, { name, ms, waited = false }) {
    const line = this.#lines.get(reader);
    if (ms !== undefined) line.time.textContent = milliseconds(ms);
    if (still.matches) return this.#list(reader, name, ms);
    if (document.hidden || this.#travelling >= MOST || !line.length) return;
    this.#travelling += 1;
    const dot = make('circle', 'dot');
    dot.setAttribute('r', 5);
    this.dots.append(dot);
    const from = waited ? line.stop : 0;
    const began = performance.now();
    const step = (now) => {
      const part = Math.min(1, Math.max(0, (now - began) / TRAVEL));
      const { x, y } = line.path.getPointAtLength(from + (line.length - from) * part);
      dot.setAttribute('transform', `translate(${x} ${y})`);
      // Motion that is no longer wanted ends at once.
      if (part < 1 && !still.matches) return requestAnimationFrame(step);
      dot.remove();
      this.#travelling -= 1;
    };
    requestAnimationFrame(step);
  }

  #list(reader, name, ms) {
    const list = document.getElementById('trace');
    const item = document.createElement('li');
    item.textContent = `${name} → ${reader === 'load' ? 'the readers' : reader}${ms === undefined ? '' : `, ${milliseconds(ms)}`}`;
    list.prepend(item);
    while (list.children.length > 6) list.lastElementChild.remove();
  }

  #draw() {
    const own = this.root.getBoundingClientRect();
    const box = (selector, place = this.root) => {
      const { left, right, top, bottom } = place.querySelector(selector).getBoundingClientRect();
      return { left: left - own.left, right: right - own.left, top: top - own.top, bottom: bottom - own.top, y: (top + bottom) / 2 - own.top };
    };
    this.svg.setAttribute('viewBox', `0 0 ${own.width} ${own.height}`);
    const backend = box('.backend b');
    const server = box('.server b');
    const stacked = server.top > backend.bottom;
    for (const line of this.#lines.values()) {
      const end = box('.end .state', line.branch);
      const y = stacked ? end.y : box('.acts', line.branch).y;
      const d = stacked ? down(backend, server, end, y) : across(backend, server, end, y);
      // The whole way for the dots; what is behind a cut is drawn on its own.
      line.path.setAttribute('d', d);
      line.length = line.path.getTotalLength();
      // A line ends level; it is cut in front of its buttons, or where they stand below it, where it is level.
      line.stop = line.length - (end.left - 8) + (stacked ? end.left - 40 : box('.acts', line.branch).left - GAP);
      line.path.setAttribute('stroke-dasharray', line.cut ? `${line.stop} ${line.length}` : '');
      line.rest.setAttribute('d', line.cut ? d : '');
      line.rest.setAttribute('stroke-dasharray', `0 ${line.stop + GAP} ${'1 7 '.repeat(Math.max(1, Math.ceil((line.length - line.stop) / 8)))}`);
      this.#drawWaiting(line);
    }
  }

  #drawWaiting(line) {
    const shown = Math.min(line.count, QUEUE);
    line.waiting.replaceChildren();
    if (!line.length) return;
    for (let nth = 0; nth < shown; nth += 1) {
      const { x, y } = line.path.getPointAtLength(line.stop - nth * APART);
      const dot = make('circle', 'dot still');
      dot.setAttribute('r', 4);
      dot.setAttribute('transform', `translate(${x} ${y})`);
      line.waiting.append(dot);
    }
  }
}

/** From left to right, as the mark is; behind the server's name. */
function across(backend, server, end, y) {
  const turn = server.right + 10;
  const on = turn + 60;
  const bend = Math.abs(y - server.y) < 1 ? `H ${on}` : `H ${turn} C ${turn + 34} ${server.y} ${turn + 18} ${y} ${on} ${y}`;
  return `M ${backend.right + 2} ${backend.y} ${bend} H ${end.left - 8}`;
}

/** On narrow screens from the top, along the left edge. */
function down(backend, server, end, y) {
  const x = 12;
  return `M ${x} ${backend.y} V ${y - 14} C ${x} ${y - 4} ${x + 4} ${y} ${x + 14} ${y} H ${end.left - 8}`;
}

function make(name, className) {
  const element = document.createElementNS(SVG, name);
  element.setAttribute('class', className);
  return element;
}
