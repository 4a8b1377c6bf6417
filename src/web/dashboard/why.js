// Why nothing? The walk from a token, or a user, to the last event that was delivered.

import { count, facts, fill, h, name, span, state, when, whole } from './dom.js';
import { api, ask, live, query } from './api.js';
import { field } from './streams.js';
import { reasons } from './strip.js';

export function why({ parameters, remember }) {
  const input = h('textarea', { id: 'filter', rows: '2', spellcheck: 'false', autocomplete: 'off', placeholder: 'u1, or eyJhbGciOi\u2026', 'aria-describedby': 'about' });
  input.value = parameters.user ?? '';
  const steps = h('ol', { class: 'plain steps', 'aria-live': 'polite' });
  const counted = h('div', { class: 'stack' });
  const form = h('form', { class: 'card stack', onsubmit: (event) => (event.preventDefault(), walk()) },
    h('div', { class: 'field' }, h('label', { for: 'filter' }, 'A user, or the token that their page sends'), input),
    h('p', { id: 'about', class: 'hint' }, 'A token goes to this daemon only, and is neither kept nor logged. It is not put into this page\u2019s address.'),
    h('div', { class: 'row' }, h('button', { class: 'primary' }, 'Find out why')));
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    }
  });

  let turn = 0;
  async function walk() {
    const text = input.value.trim();
    const mine = ++turn;
    if (!text) return input.focus();
    const token = text.replace(/^Bearer\s+/i, '');
    const is_token = token.split('.').length === 3 && token.length > 40;
    remember({ user: is_token ? '' : text });
    fill(steps, h('li', { class: 'mute' }, 'Looking\u2026'));
    const found = [];
    const step = (kind, title, ...sentence) => {
      found.push(h('li', null, state(kind, h('b', null, title)), h('div', { class: 'sentence' }, sentence)));
      if (mine === turn) fill(steps, found);
    };
    try {
      let user = text;
      if (is_token) {
        const said = await ask('POST', '/explain', { token });
        if (!token_steps(said, step)) return;
        user = said.user;
        if (!user) return step('warn', 'User', 'The token names no user, so their streams look like any other. ', h('a', { href: '#/configuration?q=auth.jwt' }, 'auth.jwt.user'), ' says which claim does.');
      } else {
        const said = await ask('POST', '/explain', { user });
        const ways = said.streams.map((stream) => `${stream.path} ${{ none: 'lets anybody in', jwt: 'wants a token', backend: 'asks the application', ticket: 'wants a ticket' }[stream.auth]}`);
        step('off', 'Token', 'Not looked at: paste the token to follow it. ', ways.join('; '), '.');
        grant(said.kept_out, user, step);
      }
      await streams_steps(user, step);
    } catch (problem) {
      step('bad', 'Not found out', problem.message);
    }
  }

  function table() {
    const rows = reasons();
    fill(counted, h('h2', null, 'Refused, closed and not resumed, since the start'), rows.length
      ? h('div', { class: 'scrolls', tabindex: '0', role: 'region', 'aria-label': 'Reasons' }, h('table', { class: 'reasons' }, h('thead', null, h('tr', null, h('th', { scope: 'col', class: 'num' }, 'Times'), h('th', { scope: 'col' }, 'What'), h('th', { scope: 'col' }, 'Reason'), h('th', { scope: 'col' }, 'What to do'))),
        h('tbody', null, rows.map((one) => h('tr', { class: parameters.reasons === `${one.kind}: ${one.reason}` ? 'at' : null }, h('td', { class: 'num' }, whole(one.number)), h('td', null, one.kind), h('td', null, h('code', null, one.reason)), h('td', null, one.advice))))))
      : h('p', { class: 'hint' }, 'Nothing yet.'));
  }

  table();
  const stop = live.listen(() => table());
  if (parameters.user) walk();
  return { element: h('div', { class: 'stack' }, form, steps, counted), stop };
}

/** Whether there is somebody to go on with. */
function token_steps(said, step) {
  if (!said.good) {
    const checks = (said.checks ?? []).map((check) => [check.name, h('code', null, check.value), check.accepted === null ? null : ['; accepted: ', h('code', null, check.accepted)]]);
    step('bad', 'Token', h('p', null, `Refused: ${said.error} (${said.reason}).`), checks.length ? facts(checks) : null);
    return false;
  }
  step('good', 'Token', 'Good. ', said.expires_in === null ? 'It does not end.' : `It ends in ${span(said.expires_in)}.`);
  grant(said.kept_out, said.user, step);
  const granted = said.topics === null ? 'all topics' : said.topics.length ? said.topics.join(', ') : 'no topic but those that a stream gives to everybody';
  const closed = said.opens.filter((stream) => !stream.opens);
  step(closed.length === said.opens.length && closed.length ? 'bad' : closed.length ? 'warn' : 'good', 'Topics', h('p', null, `It grants ${granted}.`),
    said.opens.map((stream) => h('div', null, state(stream.opens ? 'good' : 'bad', h('code', null, stream.path), ` ${stream.verdict}${stream.opens && stream.outlives_token ? ', and stays open when the token ends' : ''}`),
      h('ul', null, stream.topics.map((topic) => h('li', null, h('span', { class: topic.allowed ? null : 'bad' }, name(topic.topic), `: ${topic.say}`)))))));
  return true;
}

function grant(kept_out, user, step) {
  if (kept_out === 'sent_away') step('bad', 'Grant', 'They were closed with \u201creconnect=false\u201d and are refused until that time is over.');
  else if (kept_out === 'revoked') step('bad', 'Grant', 'It was revoked. A token that is issued from now on is good.');
  else step('good', 'Grant', user ? ['Nothing keeps ', name(user), ' out.'] : 'Nothing was revoked.');
}

async function streams_steps(user, step) {
  const path = encodeURIComponent(user);
  const [page, given, presence] = await Promise.all([api(`/connections${query({ user, limit: 100 })}`), api(`/users/${path}/topics`), api(`/presence/users/${path}`)]);
  const all = page.connections;
  if (!all.length) {
    step('bad', 'Open streams', h('p', null, presence.online ? ['None now; the last one ended within presence.grace. '] : ['None on any instance. ', given.topics.length ? `The backend has given them ${count(given.topics.length, 'topic')}, which wait for a stream. ` : '']),
      h('p', null, 'Next: does their page open an EventSource, and does its request reach this daemon? The browser\u2019s network tab shows its status; what was refused here stands below, by reason.'));
    return;
  }
  step('good', 'Open streams', h('a', { href: `#/streams${query({ q: field('user', user) })}` }, count(all.length, 'stream')), page.complete ? '.' : '; not every instance has answered.');
  const topics = [...new Set(all.flatMap((one) => one.topics))];
  step(topics.length ? 'good' : 'warn', 'Topics', topics.length ? h('ul', { class: 'plain' }, topics.slice(0, 20).map((topic) => h('li', null, h('a', { href: `#/topics${query({ open: topic })}` }, name(topic)))), topics.length > 20 ? h('li', { class: 'mute' }, `and ${topics.length - 20} more`) : null)
    : 'None: these streams get only what is published to the user, their session, their client, or everybody. The backend gives topics by PUT /users/{user}/topics/{topic}.');
  const held = all.filter((one) => one.blocked || one.behind.events);
  if (held.length) step('warn', 'Held', `${count(held.length, 'stream')} behind: their readers take no more for now. They catch up from the log.`);
  const sent = all.reduce((most, one) => most + one.sent, 0);
  const events = (await Promise.all(topics.slice(0, 10).map((topic) => api(`/topics/${encodeURIComponent(topic)}/events?last=1`).catch(() => ({ events: [] }))))).flatMap((one, nth) => one.events.map((event) => ({ ...event, topic: topics[nth] })));
  const last = events.sort((one, other) => other.at - one.at)[0];
  step(sent ? 'good' : 'warn', 'Delivered', h('p', null, sent ? `${count(sent, 'event')} written to these streams.` : 'No event was written to these streams since they opened.'),
    h('p', null, last ? ['The last event on their topics came ', when(last.at), ' on ', name(last.topic), ': ', h('code', null, last.id), '. '] : 'The log keeps no event of their topics: nothing was published on them of late. ', h('a', { href: `#/publish${query({ kind: 'user', name: user })}` }, 'Publish one to this user'), ' and see whether it arrives.'));
}
