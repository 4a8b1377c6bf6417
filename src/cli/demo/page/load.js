// The load in numbers: what its readers counted and measured, as it came over this page's own stream.

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 200;
const HEIGHT = 44;

const number = (value) => Math.round(value).toLocaleString('en').replaceAll(',', '\u2009');
const ms = (value) => (value === null || value === undefined ? '–' : value < 100 ? value.toFixed(1) : String(Math.round(value)));

export class Charts {
  #reports = [];

  constructor(root) {
    this.root = root;
    this.streams = chart(root, 'streams open', ['']);
    this.events = chart(root, 'deliveries a second', ['']);
    this.times = chart(root, 'published → read, p50 and p99', ['ms', 'ms']);
  }

  /** Adds a report; one that counts less than the last is a new load's. Gives the sentence for it, if it is the last one. */
  add(report) {
    const last = this.#reports.at(-1);
    // Each phone of the page hears it.
    if (report.seconds === last?.seconds) return null;
    if (!last || last.done || report.seconds < last.seconds) this.#reports = [];
    const before = this.#reports.at(-1) ?? { seconds: 0, received: 0 };
    const rate = (report.received - before.received) / (report.seconds - before.seconds);
    this.#reports.push({ ...report, rate });
    this.root.hidden = false;
    const measured = this.#reports.filter((each) => each.samples > 0);
    this.streams.draw([this.#reports.map((each) => each.open)], [number(report.open)]);
    const rates = this.#reports.filter((each) => !each.done || each.samples > 0).map((each) => each.rate);
    this.events.draw([rates], [number(Math.max(0, ...rates))], 'peak');
    const latest = measured.at(-1);
    this.times.draw([measured.map((each) => each.p50), measured.map((each) => each.p99)], [ms(latest?.p50), ms(latest?.p99)]);
    return report.done ? sentence(report, measured) : null;
  }
}

function sentence({ received, expected, open, sent, wanted }, measured) {
  const worst = Math.max(...measured.map((each) => each.p99));
  const fewer = wanted < 1000 ? ` This shell allows too few open files for a thousand (ulimit -n).` : '';
  const missing = expected - received;
  const lost = missing > 0 ? `${number(missing)} are missing` : 'none is missing';
  return `${number(open)} readers, ${sent} events: ${number(received)} deliveries, ${lost}. In the worst half second 99 of 100 came within ${ms(worst)} ms, with readers and server on this one machine.${fewer}`;
}

function chart(root, title, units) {
  const figure = document.createElement('figure');
  const caption = document.createElement('figcaption');
  caption.className = 'hint';
  caption.textContent = title;
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const lines = units.map((_, nth) => {
    const line = document.createElementNS(SVG, 'polyline');
    line.setAttribute('class', nth === 0 ? 'solid' : 'thin');
    svg.append(line);
    return line;
  });
  const value = document.createElement('p');
  value.className = 'lead mono';
  figure.append(caption, value, svg);
  root.append(figure);
  const draw = (series, texts, before = '') => {
    const most = Math.max(1e-9, ...series.flat()) * 1.05;
    series.forEach((values, nth) => {
      const step = WIDTH / Math.max(1, values.length - 1);
      const points = values.map((each, at) => `${(at * step).toFixed(1)},${(HEIGHT - 1 - (each / most) * (HEIGHT - 3)).toFixed(1)}`);
      lines[nth].setAttribute('points', points.join(' '));
    });
    value.replaceChildren();
    if (before) value.append(unit(`${before} `));
    texts.forEach((text, nth) => {
      if (nth > 0) value.append(unit(' · '));
      value.append(text);
      if (units[nth]) value.append(unit(` ${units[nth]}`));
    });
  };
  return { draw };
}

function unit(text) {
  const span = document.createElement('span');
  span.className = 'unit';
  span.textContent = text;
  return span;
}
