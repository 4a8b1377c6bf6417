// Publish: an event for any audience, and the same from a program.

import { count, fill, h, name, say, state, whole } from './dom.js';
import { Problem, api, live, query } from './api.js';
import { code } from './copy.js';

const KINDS = [['topic', 'A topic'], ['user', 'A user'], ['session', 'A session'], ['client', 'One stream'], ['broadcast', 'Everybody']];

export function publish({ parameters, remember }) {
  const kind = h('select', { id: 'kind' }, KINDS.map(([value, text]) => h('option', { value }, text)));
  kind.value = KINDS.some(([value]) => value === parameters.kind) ? parameters.kind : 'topic';
  const whom = h('input', { id: 'whom', value: parameters.name ?? '', autocomplete: 'off', spellcheck: 'false', placeholder: 'conversation:42' });
  const event = h('input', { id: 'event', value: parameters.event ?? '', autocomplete: 'off', spellcheck: 'false', placeholder: 'message (when empty)' });
  const data = h('textarea', { id: 'data', spellcheck: 'false', rows: '6', 'aria-describedby': 'json' });
  data.value = '{"text": "hello"}';
  const json = h('p', { id: 'json', class: 'small', 'aria-live': 'polite' });
  const live_only = h('input', { type: 'checkbox', id: 'ephemeral' });
  const send = h('button', { class: 'primary', id: 'send' }, 'Publish event');
  const result = h('div', { role: 'status', id: 'result' });
  const language = h('select', { id: 'language', 'aria-label': 'Language' }, ['curl', 'Node', 'Python', 'PHP', 'redis-cli'].map((text) => h('option', null, text)));
  const shown = h('div');
  const whomLabel = h('label', { for: 'whom' });
  const whomField = h('div', { class: 'field' }, whomLabel, whom);
  const may = live.may === 'act';

  const body = () => {
    const parsed = read(data.value);
    const to = kind.value === 'broadcast' ? { broadcast: true } : { [kind.value]: whom.value };
    return { ...to, ...(event.value ? { event: event.value } : {}), data: parsed.value, ...(live_only.checked ? { ephemeral: true } : {}) };
  };

  function draw() {
    whomField.hidden = kind.value === 'broadcast';
    say(whomLabel, { topic: 'Topic', user: 'User', session: 'Session', client: 'Client id (in connected)' }[kind.value] ?? '');
    const parsed = read(data.value);
    data.setAttribute('aria-invalid', parsed.bad ? 'true' : 'false');
    fill(json, parsed.bad ? h('span', { class: 'warn' }, `Not JSON, so it is sent as text: ${parsed.bad}`) : h('span', { class: 'mute' }, 'JSON'));
    fill(shown, code(written(language.value, body(), live.identity), { wrap: true }));
    send.disabled = !may;
    remember({ kind: kind.value, name: whom.value, event: event.value });
  }

  const form = h('form', { class: 'card stack', onsubmit: async (submitted) => {
    submitted.preventDefault();
    if (kind.value !== 'broadcast' && !whom.value) {
      whom.focus();
      return fill(result, state('warn', 'Say who gets the event.'));
    }
    send.disabled = true;
    const began = performance.now();
    try {
      const done = await api('/publish', 'POST', body());
      fill(result, await outcome(done, kind.value, whom.value, performance.now() - began));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      fill(result, state('bad', `Nothing was published: ${problem.message}`));
    }
    send.disabled = !may;
  } },
  h('div', { class: 'field' }, h('label', { for: 'kind' }, 'For'), kind), whomField, h('div', { class: 'field' }, h('label', { for: 'event' }, 'Event'), event),
  h('div', { class: 'field' }, h('label', { for: 'data' }, 'Data'), data, json),
  h('label', { class: 'row check' }, live_only, 'Only to streams that are open now (ephemeral: no id, no replay)'),
  h('div', { class: 'row' }, send, may ? null : h('span', { class: 'hint' }, 'Your key may only look: publishing needs one of dashboard.keys.')), result);
  for (const field of [kind, whom, event, data, live_only, language]) field.addEventListener('input', draw);
  draw();
  return {
    element: h('div', { class: 'two' }, form, h('section', { class: 'card stack' }, h('div', { class: 'row' }, h('h2', { class: 'label grow' }, 'The same from your backend'), h('div', null, language)), shown,
      h('p', { class: 'hint' }, '$KEY is one of internal.publish_keys; the dashboard\u2019s own keys publish from here only.'))),
    stop: () => {},
  };
}

function read(text) {
  try {
    return { value: JSON.parse(text) };
  } catch (bad) {
    return { value: text, bad: bad.message };
  }
}

/** What is known of an event that was published. */
async function outcome(done, kind, whom, took) {
  const parts = [done.id ? ['id ', h('code', null, done.id)] : 'live only, without an id', `, answered within ${whole(Math.max(1, took))} ms: `];
  if (done.matched === undefined) return state('good', parts, 'handed on to all instances.');
  if (!done.matched) {
    const hint = kind === 'topic' ? h('a', { href: `#/topics${query({ q: whom })}` }, 'Look for the topic') : kind === 'user' ? h('a', { href: `#/why${query({ user: whom })}` }, 'Why nothing?') : h('a', { href: '#/streams' }, 'Show all streams');
    return state('warn', parts, 'no open stream is for it on this instance; who comes back later with an earlier id gets it. ', hint);
  }
  const link = h('a', { href: `#/streams${kind === 'broadcast' ? '' : query({ q: `${kind}:${whom}` })}` }, count(done.matched, 'stream'));
  const all = [parts, link, ' on this instance'];
  if (!done.id) return state('good', all, '.');
  // Who has it: the streams say up to where they have everything.
  let page;
  let have;
  for (let look = 0; look < 8; look++) {
    page = await api(`/connections${query({ ...(kind === 'broadcast' ? {} : { [kind]: whom }), limit: 1000 })}`);
    have = page.connections.filter((one) => !after(done.id, one.position)).length;
    if (have === page.connections.length) break;
    await new Promise((next) => setTimeout(next, 60));
  }
  const full = page.connections.filter((one) => one.blocked).length;
  const p99 = live.samples.findLast((sample) => sample.p99 !== undefined)?.p99;
  return state(full ? 'warn' : 'good', all, `; ${whole(have)} of ${whole(page.connections.length)} have it`, p99 ? ` (p99 to the socket: ${p99 < 10 ? p99.toFixed(1) : whole(p99)} ms)` : '', full ? [', ', h('a', { href: '#/streams?sort=-lag' }, `${whole(full)} held`), ' by slow readers'] : '', '.');
}

/** Whether the id `a` is later than `b`. */
function after(a, b) {
  const [[ma, sa], [mb, sb]] = [a, b].map((id) => id.split('-').map(Number));
  return ma > mb || (ma === mb && sa > sb);
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The request in a language. */
function written(language, body, identity) {
  const url = `${location.origin}/publish`;
  const text = JSON.stringify(body);
  const python = (value) => JSON.stringify(value).replace(/\b(true|false|null)\b(?=(?:[^"\\]|\\.|"(?:[^"\\]|\\.)*")*$)/g, (word) => ({ true: 'True', false: 'False', null: 'None' })[word]);
  const php = (value) => `json_decode('${JSON.stringify(value).replaceAll('\\', '\\\\').replaceAll("'", "\\'")}')`;
  switch (language) {
    case 'Node':
      return `await fetch("${url}", {\n  method: "POST",\n  headers: { authorization: \`Bearer \${process.env.KEY}\` },\n  body: JSON.stringify(${JSON.stringify(body, null, 2).replaceAll('\n', '\n  ')}),\n});`;
    case 'Python':
      return `import json, os, urllib.request\n\nevent = ${python(body)}\nrequest = urllib.request.Request(\n    "${url}",\n    data=json.dumps(event).encode(),\n    headers={"Authorization": "Bearer " + os.environ["KEY"]},\n)\nprint(urllib.request.urlopen(request).read().decode())`;
    case 'PHP':
      return `$event = ${php(body)};\n$request = curl_init("${url}");\ncurl_setopt_array($request, [\n  CURLOPT_POSTFIELDS => json_encode($event),\n  CURLOPT_HTTPHEADER => ["Authorization: Bearer " . getenv("KEY")],\n  CURLOPT_RETURNTRANSFER => true,\n]);\necho curl_exec($request);`;
    case 'redis-cli': {
      const redis = identity?.redis;
      if (!redis) return '# This daemon has no Redis. With [redis] in its configuration:\n' + `redis-cli PUBLISH sidestream ${quoted(text)}`;
      return redis.stream ? `redis-cli XADD ${redis.stream} '*' event ${quoted(text)}` : `redis-cli PUBLISH ${redis.prefix} ${quoted(text)}`;
    }
    default:
      return `curl ${url} -H "Authorization: Bearer $KEY" \\\n  -d ${quoted(text)}`;
  }
}
