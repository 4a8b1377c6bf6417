// The page: signing in, the tabs, the address, the keys.

import { dialog, fill, h } from './dom.js';
import { ask, live, query } from './api.js';
import { activeGrid } from './grid.js';
import { charts } from './charts.js';
import { strip } from './strip.js';
import { streams } from './streams.js';
import { topics } from './topics.js';
import { users } from './users.js';
import { publish } from './publish.js';
import { why } from './why.js';
import { instances } from './instances.js';
import { configuration } from './configuration.js';

const TABS = [
  ['streams', 'Streams', streams], ['topics', 'Topics', topics], ['users', 'Users', users], ['publish', 'Publish', publish],
  ['why', 'Why nothing?', why], ['instances', 'Instances', instances], ['configuration', 'Configuration', configuration],
];
const main = document.getElementById('main');
const who = document.getElementById('who');
const keys = document.getElementById('keys');
const signOut = document.getElementById('sign-out');
let view = null;
let shownTab = '';
let tabs;
let place;
let drawing;

/** What the address says: the tab and its parameters. */
function address() {
  const [path, search] = location.hash.replace(/^#\/?/, '').split('?');
  const tab = TABS.some(([key]) => key === path) ? path : 'streams';
  return { tab, parameters: Object.fromEntries(new URLSearchParams(search ?? '')) };
}

/** Keeps parameters in the address, without a new entry in the history. */
function remember(changes) {
  const { tab, parameters } = address();
  history.replaceState(null, '', `#/${tab}${query({ ...parameters, ...changes })}`);
}

function route() {
  const { tab, parameters } = address();
  view?.stop();
  document.querySelectorAll('dialog').forEach((box) => box.close());
  const [, title, make] = TABS.find(([key]) => key === tab);
  document.title = `${title} \u00b7 sidestream`;
  for (const link of tabs.children) {
    if (link.dataset.tab === tab) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  view = make({ parameters, remember: (changes) => address().tab === tab && remember(changes) });
  fill(place, h('h1', { class: 'sr-only' }, title), view.element);
  if (shownTab && shownTab !== tab) tabs.querySelector('[aria-current]').scrollIntoView({ block: 'nearest', inline: 'nearest' });
  shownTab = tab;
}

function start(session) {
  live.may = session.may;
  live.identity = session.identity;
  const top = strip(who);
  drawing = charts();
  tabs = h('nav', { class: 'tabs', 'aria-label': 'Views' }, TABS.map(([key, title]) => h('a', { href: `#/${key}`, 'data-tab': key }, title)));
  place = h('div', { id: 'view', class: 'stack', tabindex: '-1' });
  fill(main, top.element, drawing.element, tabs, place);
  keys.hidden = signOut.hidden = false;
  live.signedOut = () => {
    live.signedOut = () => {};
    top.stop();
    live.close();
    live.listeners.clear();
    view?.stop();
    view = null;
    signIn('The sign-in is over. Sign in again to go on where you were.');
  };
  live.open();
  route();
}

function signIn(note) {
  keys.hidden = signOut.hidden = true;
  fill(who);
  document.body.classList.remove('stale');
  document.title = 'Sign in \u00b7 sidestream';
  const key = h('input', { id: 'key', type: 'password', autocomplete: 'current-password', required: true, autofocus: true });
  const said = h('p', { class: 'error', role: 'alert' });
  const button = h('button', { class: 'primary' }, 'Sign in');
  fill(main, h('form', { class: 'card stack sign-in', onsubmit: async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await ask('POST', '/session', { key: key.value });
      key.value = '';
      start(await ask('GET', '/session'));
    } catch (problem) {
      fill(said, problem.message.charAt(0).toUpperCase() + problem.message.slice(1), '.');
      button.disabled = false;
      key.select();
    }
  } }, h('h1', null, 'Sign in'), note ? h('p', null, note) : null,
  // For password managers, which keep a key by a name.
  h('input', { type: 'text', autocomplete: 'username', value: 'sidestream', hidden: true, 'aria-hidden': 'true', tabindex: '-1' }),
  h('div', { class: 'field' }, h('label', { for: 'key' }, 'Key'), key), said, h('div', { class: 'row' }, button),
  h('p', { class: 'hint' }, 'One of ', h('code', null, 'dashboard.keys'), ' to look and act, or of ', h('code', null, 'dashboard.read_keys'), ' to look.')));
  key.focus();
}

function help() {
  const all = [['/', 'Filter'], ['j k', 'Next and previous row'], ['Enter', 'Open the row'], ['p', 'Publish'], ['t', 'The charts as a table'], ['1 \u2026 7', 'The tabs'], ['\u2190 \u2192', 'On a chart: move the cursor'], ['Esc', 'Close, or leave the field'], ['?', 'These keys']];
  dialog('Keys', h('table', null, h('tbody', null, all.map(([key, what]) => h('tr', null, h('th', { scope: 'row' }, key.split(' ').map((one) => [h('kbd', null, one), ' '])), h('td', null, what))))));
}

addEventListener('hashchange', () => view && route());
keys.addEventListener('click', help);
signOut.addEventListener('click', async () => {
  await ask('DELETE', '/session').catch(() => {});
  location.reload();
});
document.addEventListener('keydown', (event) => {
  if (!view || event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest('input, textarea, select');
  if (event.key === 'Escape' && typing) return event.target.blur();
  if (typing || document.querySelector('dialog[open]')) return;
  const tab = TABS[+event.key - 1];
  const table = activeGrid();
  if (event.key === '/') document.getElementById('filter')?.focus();
  else if (event.key === 'j') table?.move(1);
  else if (event.key === 'k') table?.move(-1);
  else if (event.key === 'Enter' && table && !event.target.closest('a, button')) table.openSelected();
  else if (event.key === 'p') location.hash = '#/publish';
  else if (event.key === 't') drawing.toggle();
  else if (event.key === '?') help();
  else if (tab) location.hash = `#/${tab[0]}`;
  else return;
  event.preventDefault();
});

ask('GET', '/session').then((session) => (session.may ? start(session) : signIn()), (problem) => fill(main, h('p', { class: 'notice bad', role: 'alert' }, problem.message)));
