// Instances: which live, what each holds, and what this one depends on.

import { count, fill, h, name, size, span, state, whole, clock, when } from './dom.js';
import { api, live, query } from './api.js';

export function instances() {
  let stopped = false;
  const cards = h('div', { class: 'cards many' });
  const note = h('p', { class: 'small mute', 'aria-live': 'polite' });
  const depends = h('section', { class: 'card stack' });
  const here = h('section', { class: 'card stack' });

  async function load() {
    try {
      const totals = await api('/presence');
      if (stopped) return;
      fill(cards, totals.instances.map((one) => {
        // An id begins with the time of its start.
        const started = parseInt(one.id.slice(0, 11), 16);
        return h('section', { class: 'card' }, h('h2', { class: 'row' }, name(one.name || 'another one'), one.id === totals.here ? h('span', { class: 'unit' }, 'this one') : null),
          h('p', { class: 'lead' }, h('a', { href: `#/streams${query({ q: `instance:${one.id}` })}` }, whole(one.streams), h('span', { class: 'unit' }, one.streams === 1 ? ' stream' : ' streams'))),
          h('p', null, one.users_total === undefined ? '' : count(one.users_total, 'user')),
          h('p', { class: 'mute small' }, 'started ', when(started), ' \u00b7 ', h('code', null, one.id)));
      }));
      const alone = totals.instances.length === 1;
      fill(note, alone ? (live.identity?.redis ? 'No other instance shares this Redis.' : ['This instance is alone. Several of them share events, presence and commands over Redis: ', h('a', { href: '#/configuration?q=redis' }, '[redis]'), '.']) : totals.complete ? '' : 'Not all that is on the others is known yet.');
    } catch (problem) {
      if (!stopped) fill(note, h('span', { class: 'error' }, problem.message));
    }
  }

  const draw = () => {
    const now = live.snapshot;
    if (!now) return;
    fill(depends, h('h2', null, 'What this instance depends on'), h('table', null, h('tbody', null, Object.entries(now.dependencies).map(([dependency, said]) =>
      h('tr', null, h('th', { scope: 'row' }, h('code', null, dependency)), h('td', null, state(said.state === 'up' ? 'good' : said.state === 'down' ? (said.required ? 'bad' : 'warn') : 'off', said.state === 'unknown' ? 'not asked yet' : said.state)),
        h('td', null, said.why ?? '', ' ', h('span', { class: 'mute' }, `since ${clock(said.since)}${said.required ? ', events need it' : ''}`)))))));
    const { series, log } = now;
    const row = (label, ...value) => h('tr', null, h('th', { scope: 'row' }, label), h('td', { class: 'num' }, value));
    fill(here, h('h2', null, 'This instance, since its start'), h('table', null, h('tbody', null,
      row('Up for', span((Date.now() - now.started) / 1000)), row('Events written', whole(series.deliveries_total ?? 0)), row('Bytes written', size(series.stream_bytes_written_total ?? 0)),
      row('Events kept for replay', `${whole(log.events)} (${size(log.bytes)})`), row('Requests with the backend now', whole(series.proxy_in_flight ?? 0)), row('Resets of slow readers', whole(series.resets_total ?? 0)))));
  };
  load();
  draw();
  const stop = live.listen(draw);
  const ticking = setInterval(() => live.connected && !document.hidden && load(), 3000);
  return { element: h('div', { class: 'stack' }, note, cards, h('div', { class: 'two' }, depends, here)), stop: () => ((stopped = true), stop(), clearInterval(ticking)) };
}
