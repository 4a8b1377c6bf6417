// Configuration: every key that holds, where it comes from, and what it is. Secrets are hidden by the daemon.

import { count, empty, fill, h } from './dom.js';
import { get } from './api.js';

export function configuration({ parameters, remember }) {
  let settings = null;
  const filter = h('input', { id: 'filter', type: 'search', autocomplete: 'off', spellcheck: 'false', value: parameters.q ?? '', placeholder: 'A key, a section, or a word', 'aria-label': 'Filter settings', oninput: () => (remember({ q: filter.value }), draw()) });
  const changed = h('input', { type: 'checkbox', checked: parameters.changed === 'true', onchange: () => (remember({ changed: changed.checked ? 'true' : '' }), draw()) });
  const place = h('div', { class: 'stack' });

  function draw() {
    if (!settings) return;
    if (!settings.length) return fill(place, empty('This daemon was started without a configuration.', h('p', null, 'A demo sets what it needs by itself.')));
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = settings.filter((one) => words.every((word) => `${one.section}.${one.key} ${one.about}`.toLowerCase().includes(word)) && (!changed.checked || one.from !== 'default'));
    const sections = [...new Set(rows.map((one) => one.section))];
    fill(place, h('p', { class: 'small mute', 'aria-live': 'polite' }, count(rows.length, 'setting')), sections.map((section) => h('section', { class: 'card' }, h('h2', { class: 'mono' }, `[${section}]`),
      h('dl', { class: 'settings' }, rows.filter((one) => one.section === section).map((one) => [h('dt', null, h('code', null, one.key)),
        h('dd', null, h('code', { class: one.value === null ? 'mute' : 'name' }, one.value ?? 'unset'), ' ', one.from === 'default' ? h('span', { class: 'mute small' }, 'default') : h('b', { class: 'small from' }, `from the ${one.from}`), h('p', { class: 'hint' }, one.about))])))));
  }

  get('/configuration').then((said) => ((settings = said.settings), draw()), (problem) => fill(place, h('p', { class: 'error' }, problem.message)));
  return { element: h('div', { class: 'stack' }, h('div', { class: 'row bar' }, h('div', { class: 'grow' }, filter), h('label', { class: 'row check' }, changed, 'Only what is set')), place), stop: () => {} };
}
