// Streams: which are open, whose, how far behind; closed from here.

import { count, dialog, empty, facts, fill, h, name, say, state, whole, when } from './dom.js';
import { Problem, api, live, query } from './api.js';
import { code } from './copy.js';
import { grid } from './grid.js';

/** How many streams are loaded at most; a filter by user, topic or address asks all of them. */
const MOST = 10000;
const PAGE = 1000;

/** `user:u1 topic:news free text` → what the daemon is asked, and what is looked for in what it answers. */
export function parse(text) {
  const asked = {};
  const rest = text.replace(/(^|\s)(user|session|topic|client|address|instance|meta\.[\w.-]+):("[^"]*"|\S+)/g, (_, space, field, value) => {
    asked[field] = value.replace(/^"|"$/g, '');
    return '';
  });
  return { asked, words: rest.toLowerCase().split(/\s+/).filter(Boolean) };
}

export const field = (kind, value) => `${kind}:${/\s/.test(value) ? `"${value}"` : value}`;

/** What is noted of a stream, as texts. */
const noted = (one) => Object.entries(one.meta ?? {}).map(([key, text]) => `${key}=${text}`);

export function streams({ parameters, remember }) {
  let all = [];
  let total = null;
  let stopped = false;
  let asked = '';
  const filter = h('input', { id: 'filter', type: 'search', autocomplete: 'off', spellcheck: 'false', value: parameters.q ?? '', placeholder: 'Any text, or user: topic: session: address:', 'aria-label': 'Filter streams', oninput: () => changed() });
  const note = h('p', { class: 'small mute', 'aria-live': 'polite' });
  const place = h('div');
  const table = grid({
    label: 'Open streams', noun: 'stream', key: (one) => one.client, sort: parameters.sort ?? '-opened',
    onsort: (sort) => remember({ sort }), open: (one) => show(one),
    columns: [
      { key: 'user', title: 'User', area: 'a', sort: (one) => one.user ?? '\uffff', cell: (one) => (one.user ? name(one.user) : h('span', { class: 'mute' }, 'anonymous')) },
      { key: 'topics', title: 'Topics', area: 'c', width: 'minmax(0, 1.6fr)', sort: (one) => one.topics_total, cell: (one) => [topics(one), noted(one).length ? h('span', { class: 'mute small cut' }, ` ${noted(one).join(' ')}`) : null] },
      { key: 'opened', title: 'Since', num: true, area: 'b', width: '110px', sort: (one) => Date.parse(one.opened), cell: (one) => when(one.opened) },
      { key: 'address', title: 'Address', width: 'minmax(90px, .7fr)', sort: (one) => one.address, cell: (one) => h('span', { class: 'mono cut' }, one.address) },
      { key: 'sent', title: 'Sent', num: true, width: '80px', sort: (one) => one.sent, cell: (one) => whole(one.sent) },
      { key: 'lag', title: 'Lag', num: true, area: 'd', width: '110px', sort: (one) => one.behind.events + (one.blocked ? 0.5 : 0), cell: lag },
      { key: 'start', title: 'Resumed', width: '90px', sort: (one) => one.start ?? '', cell: start },
      { key: 'instance', title: 'Instance', width: 'minmax(70px, .6fr)', sort: (one) => one.instance.name, cell: (one) => h('span', { class: 'cut' }, one.instance.name) },
    ],
  });
  const element = h('div', { class: 'stack' },
    h('div', { class: 'row bar' }, h('div', { class: 'grow' }, filter), h('button', { type: 'button', onclick: () => load() }, 'Refresh')), note, place);

  async function load() {
    const { asked: which } = parse(filter.value);
    const of = (asked = JSON.stringify(which));
    try {
      const loaded = [];
      let cursor;
      do {
        const page = await api(`/connections${query({ ...which, limit: PAGE, cursor })}`);
        if (stopped || of !== asked) return;
        loaded.push(...page.connections);
        cursor = page.next;
        if (loaded.length === page.connections.length && !all.length) (all = loaded), draw();
      } while (cursor && loaded.length < MOST);
      all = loaded;
      total = cursor ? (await api(`/connections/count${query(which)}`)).total : loaded.length;
      fill(note);
      draw();
    } catch (problem) {
      if (!stopped) fill(note, h('span', { class: 'error' }, problem.message));
    }
  }

  function draw() {
    const { asked: which, words } = parse(filter.value);
    const text = (one) => [one.user, one.session, one.client, one.address, one.path, one.start, ...noted(one), ...one.topics].join('\n').toLowerCase();
    const rows = words.length ? all.filter((one) => words.every((word) => text(one).includes(word))) : all;
    if (!all.length && !Object.keys(which).length) return fill(place, nobody());
    if (!rows.length) return fill(place, nothing(which, words));
    if (place.firstChild !== table.element) fill(place, table.element, table.total);
    table.set(rows);
    if (total > all.length) say(table.total, `${count(rows.length, 'stream')} of the first ${whole(all.length)}; ${whole(total)} in all. Ask all of them with user:, topic:, session: or address:.`);
  }

  function nothing(which, words) {
    const guess = words.length === 1 && !Object.keys(which).length ? words[0] : null;
    return empty('No open stream fits.',
      guess && total > all.length ? h('p', null, `Only the first ${whole(all.length)} were looked through. Ask all for `,
        h('a', { href: `#/streams${query({ q: field('user', guess) })}` }, field('user', guess)), ' or ', h('a', { href: `#/streams${query({ q: field('topic', guess) })}` }, field('topic', guess)), '.') : null,
      which.user ? h('p', null, h('a', { href: `#/why${query({ user: which.user })}` }, 'Why does this user get nothing?')) : null,
      h('button', { type: 'button', onclick: () => ((filter.value = ''), changed()) }, 'Clear the filter'));
  }

  const wanted = () => JSON.stringify(parse(filter.value).asked);
  let timer;
  function changed() {
    remember({ q: filter.value });
    draw();
    clearTimeout(timer);
    if (wanted() !== asked) timer = setTimeout(load, 250);
  }

  function show(one) {
    remember({ open: one.client });
    const may = live.may === 'act';
    const result = h('p', { role: 'status' });
    const facts_ = facts([
      ['User', one.user ? h('a', { href: `#/users${query({ q: one.user })}` }, name(one.user)) : 'anonymous'],
      one.session ? ['Session', name(one.session)] : null,
      ['Client', h('code', null, one.client)],
      ['Topics', one.topics.length ? h('ul', { class: 'plain' }, one.topics.map((topic) => h('li', null, h('a', { href: `#/topics${query({ open: topic })}` }, name(topic))))) : 'none',
        one.topics_total > one.topics.length ? ` and ${one.topics_total - one.topics.length} more` : ''],
      one.patterns?.length ? ['Patterns', h('ul', { class: 'plain' }, one.patterns.map((pattern) => h('li', null, name(pattern))))] : null,
      ['Open', when(one.opened), ` by ${one.path} from `, h('code', null, one.address)],
      ['Resumed', start(one)],
      noted(one).length ? ['Noted', h('ul', { class: 'plain' }, Object.entries(one.meta).map(([key, text]) => h('li', null, `${key}: `, h('a', { href: `#/streams${query({ q: field(`meta.${key}`, text) })}` }, name(text)))))] : null,
      ['Sent', count(one.sent, 'event')],
      ['Lag', lag(one)],
      ['Position', h('code', null, one.position)],
      ['Instance', one.instance.name, ' ', h('code', { class: 'mute' }, one.instance.id)],
    ]);
    const close = may
      ? [h('button', { type: 'button', class: 'danger', onclick: () => ask(one, result) }, 'Close stream\u2026'), one.user ? h('a', { class: 'button', href: `#/why${query({ user: one.user })}` }, 'Why nothing?') : null]
      : h('p', { class: 'hint' }, 'Your key may only look: closing a stream needs one of dashboard.keys.');
    const box = dialog('Stream', facts_, h('div', { class: 'row' }, close), result);
    box.addEventListener('close', () => remember({ open: '' }));
    box.addEventListener('click', (event) => event.target.closest('a') && box.close());
  }

  function ask(one, result) {
    const away = h('select', { id: 'away' }, [['', 'come back at once, and resume'], ['1m', 'be refused for 1 minute'], ['10m', 'be refused for 10 minutes'], ['1h', 'be refused for 1 hour'], ['24h', 'be refused for a day']].map(([value, text]) => h('option', { value }, text)));
    const all = one.user ? h('label', { class: 'row check' }, h('input', { type: 'checkbox', id: 'whole' }), 'All streams of this user, on every instance') : null;
    const said = h('p', { class: 'error', role: 'alert' });
    const box = dialog('Close stream', h('p', null, one.user ? ['The stream of ', name(one.user), ' ends now.'] : 'The stream ends now.'),
      h('div', { class: 'field' }, h('label', { for: 'away' }, 'Its client may'), away), all,
      h('p', { class: 'hint' }, one.user ? 'Being refused holds for the user, with whatever token they come; it needs \u201call streams of this user\u201d.' : 'Somebody without a user cannot be known again: their client is told to stay away, and nothing more.'),
      said, h('div', { class: 'row' }, h('button', { type: 'button', class: 'danger', id: 'really', onclick: async () => {
        const whole = box.querySelector('#whole')?.checked;
        const path = whole ? `/users/${encodeURIComponent(one.user)}/connections` : `/connections/${encodeURIComponent(one.client)}`;
        try {
          const done = await api(path + query(away.value ? { reconnect: 'false', for: away.value } : {}), 'DELETE');
          fill(result, state('good', `${count(done.closed, 'stream')} closed. `, done.until ? ['Refused until ', new Date(done.until).toLocaleTimeString('en-GB'), '.'] : away.value ? 'Its client was told to stay away.' : 'The client comes back by itself.'));
          box.close();
          load();
        } catch (problem) {
          if (!(problem instanceof Problem)) throw problem;
          fill(said, `Nothing was closed: ${problem.message}`);
        }
      } }, 'Close stream'), h('button', { type: 'button', onclick: () => box.close() }, 'Keep it open')));
    const follow = () => all && (all.querySelector('input').checked ||= away.value !== '');
    away.addEventListener('change', follow);
  }

  load().then(() => {
    const one = parameters.open && all.find(({ client }) => client === parameters.open);
    if (one) show(one);
  });
  // As often as it is cheap: each look goes through all streams.
  const ticking = setInterval(() => live.connected && !document.hidden && !document.querySelector('dialog[open]') && (all.length <= 2000 || Date.now() % 30000 < 5000) && load(), 5000);
  return { element, stop: () => ((stopped = true), clearInterval(ticking)) };
}

function topics(one) {
  const patterns = one.patterns ?? [];
  const all = one.topics_total + patterns.length;
  if (!all) return h('span', { class: 'mute' }, 'none');
  const shown = [...one.topics.slice(0, 2).map((topic) => h('a', { class: 'tag cut', href: `#/topics${query({ open: topic })}` }, name(topic))), ...patterns.map((pattern) => h('span', { class: 'tag cut' }, name(pattern)))].slice(0, 2);
  const more = all - shown.length;
  return h('span', { class: 'topics' }, shown, more > 0 ? h('span', { class: 'mute' }, `+${more}`) : null);
}

/** How the stream began: where its client had left off, anew, or with a gap. */
function start(one) {
  if (one.start === 'resumed') return state('info', 'resumed');
  if (one.start === 'reset') return h('span', { title: 'The log no longer had what the client asked for; it was told by a reset event.' }, state('warn', 'reset'));
  return h('span', { class: 'mute' }, one.start === 'fresh' ? 'fresh' : 'unknown');
}

function lag(one) {
  const { events, more } = one.behind;
  if (!events && !one.blocked) return state('good', 'live');
  const bar = h('meter', { min: 0, max: 1000, value: events, 'aria-hidden': 'true' });
  return h('span', { class: 'lag state warn' }, h('span', null, `${more ? '1\u202f000+' : whole(events)} `, bar, h('span', { class: 'sr-only' }, ' events behind')));
}

function nobody() {
  const { identity } = live;
  const at = identity?.public ?? '127.0.0.1:8080';
  const host = at.startsWith('unix:') ? 'localhost' : `${location.hostname}:${at.split(':').at(-1)}`;
  const socket = at.startsWith('unix:') ? `--unix-socket ${at.slice(5)} ` : '';
  const origin = `${identity?.tls ? 'https' : 'http'}://${host}`;
  const path = identity?.streams[0] ?? '/events';
  return empty('No stream is open.',
    h('p', null, 'A page opens one with the browser\u2019s own ', h('code', null, 'EventSource'), '. From a page behind sidestream:'),
    code(`const events = new EventSource("${path}?topic=news");\nevents.onmessage = ({ data }) => console.log(data);`),
    h('p', null, 'From a terminal:'), code(`curl -N ${socket}'${origin}${path}?topic=news'`),
    h('p', null, 'Then ', h('a', { href: `#/publish${query({ name: 'news' })}` }, 'publish an event on news'), '. If it is refused, ', h('a', { href: '#/why' }, 'Why nothing?'), ' says why.'));
}
