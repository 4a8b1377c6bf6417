// Four small charts over the same ten minutes, with one cursor, and the same numbers as a table.

import { fill, h, ms, say, short, whole, clock } from './dom.js';
import { live } from './api.js';

const sum = (why, ...kinds) =>
  Object.entries(why ?? {}).reduce((all, [key, count]) => all + (kinds.some((kind) => key.startsWith(kind)) ? count : 0), 0);
const closedByUs = (why) => sum(why, 'closed:') - (why?.['closed: client_gone'] ?? 0);

/** Each chart: what it counts, its lines, where its number leads, and how the newest is written. */
const CHARTS = [
  {
    key: 'streams', title: 'Streams', unit: 'open', href: '#/streams', format: whole,
    lines: [{ label: 'open', colour: '--ink', width: 2, value: (s) => s.streams }],
    lead: (s) => [[short(s.streams), 'open']],
  },
  {
    key: 'events', title: 'Events', unit: 'a second', href: '#/topics', format: short,
    lines: [
      { label: 'in', colour: '--accent', width: 2, value: (s) => s.in },
      { label: 'out', colour: '--ink', width: 1.5, value: (s) => s.out },
    ],
    lead: (s) => [[short(s.in), '/s in'], [short(s.out), '/s out']],
  },
  {
    key: 'latency', title: 'Publish \u2192 written', unit: 'ms', href: '#/streams?sort=-lag', format: ms,
    lines: [
      { label: 'p50', colour: '--ink', width: 2, value: (s) => s.p50 ?? null },
      { label: 'p99', colour: '--ink', width: 1, value: (s) => s.p99 ?? null },
    ],
    lead: (s) => [[ms(s.p50), 'ms p50'], [ms(s.p99), 'ms p99']],
    last: (samples) => samples.findLast((s) => s.p99 !== undefined) ?? samples.at(-1),
  },
  {
    key: 'ends', title: 'Refused and closed', unit: 'a second', href: '#/why?reasons', format: whole,
    // Stacked: each line is what it counts and all below it. Filled by so many parts in a hundred, which greys tell apart too.
    lines: [
      { label: 'refused', colour: '--bad', fill: 100, value: (s) => sum(s.why, 'refused:', 'closed:', 'event refused:'), own: (s) => sum(s.why, 'refused:', 'event refused:') },
      { label: 'closed here', colour: '--warn', fill: 40, value: (s) => sum(s.why, 'closed:'), own: (s) => closedByUs(s.why) },
      { label: 'left', colour: '--mute', fill: 0, value: (s) => s.why?.['closed: client_gone'] ?? 0 },
    ],
    lead: (s, all) => [
      [short(all.reduce((n, one) => n + sum(one.why, 'refused:', 'event refused:'), 0)), 'refused'],
      [short(all.reduce((n, one) => n + sum(one.why, 'closed:'), 0)), 'ended in 10 min'],
    ],
  },
];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const tint = (name, part) => `color-mix(in srgb, ${colour(name)} ${part}%, ${colour('--panel')})`;

export function charts() {
  const root = h('section', { class: 'charts', 'aria-label': 'The last ten minutes' });
  const table = h('section', { class: 'card numbers', hidden: true, 'aria-label': 'The same numbers as a table' });
  const cards = CHARTS.map((chart) => card(chart));
  fill(root, cards.map((one) => one.element));
  let plots = [];
  let width = 0;

  function build() {
    plots.forEach((plot) => plot.destroy());
    plots = cards.map((one) => one.plot(root));
    draw();
  }

  function draw() {
    const { samples } = live;
    cards.forEach((one, nth) => one.draw(plots[nth], samples));
    if (!table.hidden) numbers(table, samples);
  }

  new ResizeObserver(() => {
    if (root.clientWidth === width || !root.clientWidth) return;
    width = root.clientWidth;
    build();
  }).observe(root);
  for (const media of ['(prefers-color-scheme: dark)', '(prefers-contrast: more)', '(forced-colors: active)']) {
    matchMedia(media).addEventListener('change', build);
  }
  live.listen(draw);

  /** Shows the table, or hides it. */
  const toggle = () => {
    table.hidden = !table.hidden;
    if (!table.hidden) {
      numbers(table, live.samples);
      table.querySelector('h2').focus();
    }
    return !table.hidden;
  };
  return { element: h('div', { class: 'stack' }, root, table), toggle };
}

function card(chart) {
  const lead = h('a', { class: 'lead', href: chart.href });
  const at = h('p', { class: 'at small mute', 'aria-live': 'off' });
  const canvas = h('div', { class: 'plot', tabindex: '0', role: 'img' });
  const element = h('div', { class: 'card chart', 'data-chart': chart.key }, h('h2', { class: 'label' }, chart.title), lead, canvas, at);
  let samples = [];
  let plotted;

  const legend = () => chart.lines.map((line) => [h('i', { class: `key ${line.colour.slice(2)}${line.width === 1 ? ' thin' : ''}` }), line.label, ' ']);
  const show = (index) => {
    const sample = index === null || index === undefined ? undefined : samples[index];
    if (!sample) return fill(at, legend());
    const values = chart.lines.map((line) => `${line.label} ${chart.format((line.own ?? line.value)(sample))}`);
    const why = chart.key === 'ends' ? Object.entries(sample.why ?? {}).map(([key, n]) => `${n} ${key.replace(': ', ' ')}`) : [];
    fill(at, `${clock(sample.t * 1000)}  `, why.length ? why.join(', ') : values.join('  '));
  };

  canvas.addEventListener('keydown', (event) => {
    if (!['ArrowLeft', 'ArrowRight', 'Home', 'End'].includes(event.key) || !plotted) return;
    event.preventDefault();
    const last = samples.length - 1;
    const now = plotted.cursor.idx ?? last;
    const next = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
    const index = Math.min(Math.max(next, 0), last);
    plotted.setCursor({ left: plotted.valToPos(plotted.data[0][index], 'x'), top: 10 });
    at.setAttribute('aria-live', 'polite');
  });
  canvas.addEventListener('blur', () => at.setAttribute('aria-live', 'off'));

  return {
    element,
    plot() {
      fill(canvas);
      const mute = colour('--mute');
      const font = '11px ui-sans-serif, system-ui, sans-serif';
      const axis = { stroke: mute, font, grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
      const whole = canvas.clientWidth || 240;
      plotted = new uPlot({
        width: whole,
        height: canvas.clientHeight || 110,
        padding: [8, 14, 0, 0],
        legend: { show: false },
        cursor: { sync: { key: 'sidestream' }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
        scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(high ?? 0, chart.key === 'latency' ? 1 : 4) * 1.08] } },
        axes: [
          { ...axis, size: 22, space: 80, values: (u, ticks) => ticks.map((t) => (u.scales.x.max - u.scales.x.min < 200 ? clock(t * 1000).slice(3) : clock(t * 1000).slice(0, 5))) },
          { ...axis, size: 40, space: 30, values: (_, ticks) => ticks.map((n) => short(n)) },
        ],
        series: [{}, ...chart.lines.map((line) => ({
          stroke: colour(line.colour),
          width: line.width ?? 1,
          fill: line.fill === undefined ? undefined : tint(line.colour, line.fill),
          // A second with nothing on either side would be no line.
          points: { show: true, size: 4, fill: colour(line.colour), filter: (u, nth) => alone(u.data[nth]) },
          spanGaps: false,
        }))],
        hooks: { setCursor: [(u) => show(u.cursor.left >= 0 ? u.cursor.idx : null)] },
      }, [[], ...chart.lines.map(() => [])], canvas);
      return plotted;
    },
    draw(plot, all) {
      samples = all;
      const newest = all.at(-1);
      if (!newest) return;
      const parts = chart.lead(chart.last?.(all) ?? newest, all);
      const text = parts.map(([number, word]) => `${number} ${word}`).join(', ');
      if (lead.dataset.text !== text) {
        lead.dataset.text = text;
        fill(lead, parts.map(([number, word]) => h('span', null, number, h('span', { class: 'unit' }, `\u00a0${word} `))));
      }
      const most = Math.max(...all.map((s) => chart.lines[0].value(s) ?? 0));
      canvas.setAttribute('aria-label', `${chart.title}: ${text}. Highest of the last ten minutes: ${chart.format(most)} ${chart.unit}. Arrow keys move the cursor; t shows a table.`);
      if (!plot) return;
      plot.batch(() => {
        plot.setData([all.map((s) => s.t), ...chart.lines.map((line) => all.map(line.value))], false);
        // A daemon that has just started has a chart of its first minute.
        plot.setScale('x', { min: Math.max(newest.t - 600, Math.min(all[0].t, newest.t - 60)), max: newest.t });
      });
      if (plot.cursor.left < 0 || plot.cursor.left === null) show(null);
    },
  };
}

const alone = (values) => values.flatMap((value, at) => (value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null ? [at] : []));

/** Twenty rows over ten minutes: each the mean, or the sum, of thirty seconds. */
function numbers(table, samples) {
  const rows = [];
  for (let end = samples.length; end > 0; end -= 30) rows.push(samples.slice(Math.max(0, end - 30), end));
  const mean = (part, of) => part.reduce((all, s) => all + of(s), 0) / part.length;
  const worst = (part, of) => part.reduce((most, s) => Math.max(most, of(s) ?? 0), 0);
  const columns = [
    ['Until', (part) => clock(part.at(-1).t * 1000)],
    ['Streams', (part) => whole(part.at(-1).streams)],
    ['Events in /s', (part) => short(mean(part, (s) => s.in))],
    ['Events out /s', (part) => short(mean(part, (s) => s.out))],
    ['p50 ms', (part) => ms(worst(part, (s) => s.p50))],
    ['p99 ms', (part) => ms(worst(part, (s) => s.p99))],
    ['Refused', (part) => whole(part.reduce((all, s) => all + sum(s.why, 'refused:', 'event refused:'), 0))],
    ['Closed', (part) => whole(part.reduce((all, s) => all + sum(s.why, 'closed:'), 0))],
  ];
  if (!table.firstChild) {
    fill(table, h('h2', { tabindex: '-1' }, 'The last ten minutes'), h('p', { class: 'hint' }, 'Thirty seconds a row, newest first: rates are means, times are the worst second.'),
      h('div', { class: 'scrolls', tabindex: '0', role: 'region', 'aria-label': 'Numbers' }, h('table', null, h('thead', null, h('tr', null, columns.map(([title]) => h('th', { class: 'num', scope: 'col' }, title)))), h('tbody'))));
  }
  const body = table.querySelector('tbody');
  rows.forEach((part, nth) => {
    let row = body.children[nth];
    if (!row) body.append((row = h('tr', null, columns.map(() => h('td', { class: 'num' })))));
    columns.forEach(([, write], at) => say(row.children[at], write(part)));
  });
}
