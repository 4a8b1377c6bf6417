// The strip of truth, and what is wrong now: the daemon's own sentences, each with the next step.

import { count, fill, h, ms, say, short, span, state, clock } from './dom.js';
import { live } from './api.js';

/** What a dependency is called, what is not working without it, and where it is set. */
const DEPENDENCIES = {
  redis: ['Redis', 'Events from Redis are not arriving; pages are served.', '#/configuration?q=redis'],
  redis_stream: ['The stream in Redis', 'Events are not arriving; open streams wait and miss nothing that Redis keeps.', '#/configuration?q=redis'],
  redis_publish: ['Publishing over Redis', 'POST /publish answers 503 until it is back.', '#/configuration?q=redis'],
  redis_append: ['Appending to Redis', 'POST /publish answers 503 until it is back.', '#/configuration?q=redis'],
  redis_bridge: ['Bridged channels', 'Their messages wait in memory.', '#/configuration?q=redis'],
  backend: ['The backend', 'Forwarded requests answer 502; open streams go on.', '#/configuration?q=public.backend'],
  jwks: ['The keys of tokens', 'Streams with tokens signed by unknown keys are refused.', '#/configuration?q=jwks'],
  publisher_jwks: ['The keys of publishers\u2019 tokens', 'Publishers with tokens are refused.', '#/configuration?q=publisher_jwt'],
};

/** What to do about a reason of the metrics. */
const ADVICE = {
  no_token: 'the page sends no token: see From in Configuration, and Why nothing?',
  bad_signature: 'signed with another key than the configured ones: paste such a token under Why nothing?',
  unknown_key: 'its kid is none of the configured keys: has the issuer rotated them?',
  expired: 'pages ask with an old token: renew it, see docs/auth.md',
  wrong_audience: 'the token is for somebody else: compare auth.jwt.audience',
  wrong_issuer: 'the token is by somebody else: compare auth.jwt.issuer',
  topic_not_granted: 'the token does not grant the topic that is asked for: Why nothing? shows which it grants',
  revoked: 'they were revoked (POST /revoke), which is what was asked for',
  sent_away: 'they were closed with reconnect=false, which is what was asked for',
  limit_streams: 'limits.streams is reached: raise it, or add an instance',
  limit_streams_per_user: 'limits.streams_per_user is reached: a page that opens streams and does not close them?',
  limit_streams_per_address: 'limits.streams_per_address is reached: without public.trusted_proxies all behind a proxy count as one',
  rate_per_address: 'streams are opened faster than limits.openings_per_address: without public.trusted_proxies all behind a proxy count as one',
  rate_per_user: 'streams are opened faster than limits.openings_per_user: a page that opens and closes them in a loop?',
  memory: 'limits.memory is reached: give the instance more memory, or lower log.max_bytes',
  auth_unavailable: 'nobody could say who they are: see the backend, or the keys of tokens',
  not_ready: 'the log is being loaded from Redis',
  origin_not_allowed: 'a page of another origin: list it in [cors]',
  stalled: 'their sockets took nothing for sse.write_timeout: dead peers, mostly',
  lagged: 'they were so slow that their topics are not known any more',
  too_old: 'they were away for longer than the log covers: raise log.max_events or log.max_age',
  other_log: 'they come from another instance, or from before a restart: a log in Redis ([redis.stream]) outlives both',
};

export function strip(who) {
  const sentence = h('p', { class: 'sentence', role: 'status' });
  const problems = h('section', { class: 'problems', 'aria-label': 'What is wrong now', hidden: true });
  let seen = '';

  const draw = () => {
    const now = live.snapshot;
    document.body.classList.toggle('stale', !live.connected);
    if (now) {
      const { identity } = now;
      const others = Math.max(0, (now.series.instances ?? 1) - 1);
      const text = `${identity.version} \u00b7 ${identity.name} \u00b7 ${others ? `${count(others, 'other instance')}` : 'no other instance'} \u00b7 up for ${span((Date.now() - now.started) / 1000)}`;
      say(who, text);
    }
    const [kind, text, href, link] = truth(now);
    if (seen !== kind + text) {
      seen = kind + text;
      fill(sentence, state(kind, text, href ? [' ', h('a', { href }, link)] : null));
    }
    const list = live.connected && now ? wrong(now) : [];
    problems.hidden = !list.length;
    const key = JSON.stringify(list.map(({ what, why }) => [what, why]));
    if (problems.dataset.key !== key) {
      problems.dataset.key = key;
      fill(problems, h('h2', { class: 'label' }, 'What is wrong now'), h('ul', { class: 'plain' }, list.map((one) =>
        h('li', { class: 'row' }, state(one.kind, h('a', { href: one.href }, one.what)), h('span', { class: 'mute' }, one.why)))));
    }
  };
  live.listen(draw);
  const ticking = setInterval(() => live.connected || draw(), 500);
  return { element: h('div', { class: 'stack' }, sentence, problems), stop: () => clearInterval(ticking) };
}

/** One sentence: how it is. */
function truth(now) {
  if (!live.connected) {
    const since = live.heard ? `Not live since ${clock(live.heard)}` : 'Not live yet';
    const left = live.again ? Math.max(0, Math.ceil((live.again - Date.now()) / 1000)) : 0;
    return ['warn', `${since}, ${left ? `trying again in ${left} s` : 'trying now'}. The numbers are the last known ones.`];
  }
  if (now.draining) return ['warn', 'This instance is stopping: streams are closed spread over the drain\u2019s window, and their clients go to another one.'];
  for (const [name, dependency] of Object.entries(now.dependencies)) {
    if (!dependency.required || dependency.state === 'up') continue;
    const [called, effect, href] = DEPENDENCIES[name] ?? [name, '', '#/configuration'];
    const why = dependency.state === 'down' ? `is down: ${dependency.why}` : 'is not known to be up yet';
    return ['bad', `${called} ${why} (since ${clock(dependency.since)}). ${effect}`, href, 'Show its settings'];
  }
  const last = live.samples.findLast((sample) => sample.p99 !== undefined);
  const { sample } = now;
  const flow = last ? `${short(sample.in)} events/s in, ${ms(last.p99)} ms p99 to the socket` : 'no event in the last ten minutes';
  return ['good', `All well: ${count(sample.streams, 'stream')}, ${flow}.`];
}

/** What is not as it should be: from the dependencies, and from the last ten minutes. */
function wrong(now) {
  const list = [];
  for (const [name, dependency] of Object.entries(now.dependencies)) {
    if (dependency.state !== 'down') continue;
    const [called, effect, href] = DEPENDENCIES[name] ?? [name, '', '#/configuration'];
    list.push({ at: dependency.since, kind: dependency.required ? 'bad' : 'warn', what: `${called} is down`, href, why: `since ${clock(dependency.since)}: ${dependency.why}. ${effect}` });
  }
  const reasons = {};
  for (const sample of live.samples) {
    for (const [key, number] of Object.entries(sample.why ?? {})) {
      reasons[key] ??= { number: 0, first: sample.t };
      reasons[key].number += number;
      reasons[key].last = sample.t;
    }
  }
  for (const [key, { number, last }] of Object.entries(reasons)) {
    const [kind, reason] = key.split(': ');
    const fine = kind === 'closed' && !['stalled', 'lagged'].includes(reason);
    if (fine || key === 'replayed: resumed') continue;
    const what = { refused: 'refused', closed: 'closed', replayed: 'not resumed', 'event refused': 'refused' }[kind];
    list.push({
      at: last * 1000,
      kind: kind.includes('refused') ? 'bad' : 'warn',
      what: `${count(number, kind === 'event refused' ? 'event' : 'stream')} ${what}: ${reason}`,
      href: `#/why?reasons=${encodeURIComponent(key)}`,
      why: `the last at ${clock(last * 1000)}${ADVICE[reason] ? `: ${ADVICE[reason]}` : ''}`,
    });
  }
  if (now.sample.behind > 0) {
    list.push({ at: now.sample.t * 1000, kind: 'warn', what: `${count(now.sample.behind, 'stream')} held by slow readers`, href: '#/streams?sort=-lag', why: 'their sockets take no more for now; they catch up from the log, or get a reset' });
  }
  if (now.series.log_lines_lost_total > 0) {
    list.push({ at: 0, kind: 'warn', what: `${count(now.series.log_lines_lost_total, 'line')} of the log lost`, href: '#/configuration?q=telemetry', why: 'what reads the log is too slow, or the disk is full' });
  }
  return list.sort((one, other) => other.at - one.at).slice(0, 8);
}

/** Every reason of the metrics with how often it was counted since the start, and what to do. */
export function reasons() {
  const rows = [];
  for (const [series, number] of Object.entries(live.snapshot?.series ?? {})) {
    const found = /^(streams_refused|streams_closed|replays|events_refused|http_refused)_total\{(.*)\}$/.exec(series);
    if (!found || !number) continue;
    const labels = Object.fromEntries([...found[2].matchAll(/(\w+)="([^"]*)"/g)].map(([, key, value]) => [key, value]));
    const kind = { streams_refused: 'refused', streams_closed: 'closed', replays: 'replayed', events_refused: 'event refused', http_refused: 'request refused' }[found[1]];
    const reason = labels.reason ?? labels.outcome ?? '';
    rows.push({ kind, reason, number, advice: ADVICE[reason] ?? '' });
  }
  return rows.sort((one, other) => other.number - one.number);
}
