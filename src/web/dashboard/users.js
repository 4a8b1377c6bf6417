// Users: who is online, on all instances.

import { count, empty, facts, fill, h, name, say, state, when, whole } from './dom.js';
import { api, live, query } from './api.js';
import { field } from './streams.js';
import { grid } from './grid.js';

const MOST = 10000;

export function users({ parameters, remember }) {
  let stopped = false;
  let all = [];
  let totals = null;
  const filter = h('input', { id: 'filter', type: 'search', autocomplete: 'off', spellcheck: 'false', value: parameters.q ?? '', placeholder: 'A part of the user\u2019s name', 'aria-label': 'Filter users', oninput: () => (remember({ q: filter.value }), draw(), look()) });
  const note = h('p', { class: 'small mute', 'aria-live': 'polite' });
  const one = h('div', { 'aria-live': 'polite' });
  const place = h('div');
  const table = grid({
    label: 'Users online', noun: 'user', key: (row) => row.user, sort: parameters.sort ?? 'user', onsort: (sort) => remember({ sort }),
    open: (row) => ((filter.value = row.user), remember({ q: row.user }), draw(), look()),
    columns: [{ key: 'user', title: 'User', area: 'a', sort: (row) => row.user, cell: (row) => h('span', { class: 'cut' }, name(row.user)) },
      { key: 'go', title: '', area: 'b', width: '120px', num: true, cell: (row) => h('a', { href: `#/streams${query({ q: field('user', row.user) })}` }, 'streams') }],
  });
  const element = h('div', { class: 'stack' }, h('div', { class: 'row bar' }, h('div', { class: 'grow' }, filter), h('button', { type: 'button', onclick: load }, 'Refresh')), note, one, place);

  async function load() {
    try {
      totals = await api('/presence');
      const loaded = [];
      let cursor;
      do {
        const page = await api(`/presence/users${query({ limit: 5000, cursor })}`);
        loaded.push(...page.users);
        cursor = page.next;
      } while (cursor && loaded.length < MOST);
      if (stopped) return;
      all = loaded.map((user) => ({ user }));
      fill(note, `${count(totals.users_total, 'user')} online with ${count(totals.streams, 'stream')}`, totals.complete ? '.' : '; not all instances are known yet.', totals.users_total > all.length ? ` The first ${whole(all.length)} are listed.` : '');
      draw();
    } catch (problem) {
      if (!stopped) fill(note, h('span', { class: 'error' }, problem.message));
    }
  }

  function draw() {
    const word = filter.value.toLowerCase();
    const rows = word ? all.filter(({ user }) => user.toLowerCase().includes(word)) : all;
    if (!all.length) {
      return fill(place, empty('No user is online.', h('p', null, 'A stream has a user when its ', h('code', null, '[[stream]]'), ' says so: ', h('code', null, 'user = "{query.userId}"'), ', or a token does (', h('code', null, 'auth = "jwt"'), '). ', live.snapshot?.sample.streams ? [h('a', { href: '#/streams' }, count(live.snapshot.sample.streams, 'stream')), ' without a user are open.'] : null), h('p', null, h('a', { href: '#/configuration?q=stream' }, 'Show how streams are configured'))));
    }
    if (!rows.length) return fill(place);
    if (place.firstChild !== table.element) fill(place, table.element, table.total);
    table.set(rows);
  }

  let asked = 0;
  async function look() {
    const user = filter.value.trim();
    const turn = ++asked;
    if (!user || (all.length && !all.some((row) => row.user === user) && all.some((row) => row.user.toLowerCase().includes(user.toLowerCase())))) return fill(one);
    try {
      const path = encodeURIComponent(user);
      const [presence, given] = await Promise.all([api(`/presence/users/${path}`), api(`/users/${path}/topics`)]);
      if (turn !== asked || stopped) return;
      fill(one, h('section', { class: 'card stack' }, h('div', { class: 'row' }, h('h2', { class: 'cut' }, name(user)), presence.online ? state('good', 'online') : state('off', 'not online')),
        facts([
          ['Streams', h('a', { href: `#/streams${query({ q: field('user', user) })}` }, count(presence.streams, 'open stream')), presence.online && !presence.streams ? ' (left, and within presence.grace)' : ''],
          presence.since ? ['Since', when(presence.since)] : null,
          presence.instances.length ? ['On', presence.instances.map((where) => `${where.name} (${where.streams})`).join(', ')] : null,
          ['Given topics', given.topics.length ? h('ul', { class: 'plain' }, given.topics.map((topic) => h('li', null, h('a', { href: `#/topics${query({ open: topic })}` }, name(topic))))) : 'none by the backend'],
        ]),
        h('p', { class: 'row' }, h('a', { class: 'button', href: `#/publish${query({ kind: 'user', name: user })}` }, 'Publish to this user'), h('a', { class: 'button', href: `#/why${query({ user })}` }, 'Why nothing?'))));
    } catch (problem) {
      if (turn === asked) fill(one, h('p', { class: 'error' }, problem.message));
    }
  }

  load().then(look);
  const ticking = setInterval(() => live.connected && !document.hidden && load(), 5000);
  return { element, stop: () => ((stopped = true), clearInterval(ticking)) };
}
