// The demo: two people's chat, the line between the backend and them, and what can be done to it. Every number is counted
// or measured here, or by the load's readers.
import { Charts } from '/load.js';
import { Paths } from '/paths.js';
import { NAMES, Phone, after, milliseconds, post } from '/phone.js';
import { Beside, wireOfResume } from '/acts.js';

const at = (id) => document.getElementById(id);
const only = new URLSearchParams(location.search).get('as');
const people = only in NAMES ? [only] : Object.keys(NAMES);

const about = await (await fetch('/api/state')).json();
const paths = new Paths(at('paths'));
const beside = new Beside(about, people[0]);
const charts = new Charts(at('charts'));
const phones = new Map();
/** The ids of the chat's newest events, as far as any phone of this page has heard of them. */
const known = new Set();
const KNOWN = 1000;
/** What has been done to each line, and what came of it. */
const lines = Object.fromEntries(Object.keys(NAMES).map((user) => [user, { cut: false, slow: false, missed: null, ticks: null }]));
let counting = 0;
let restart = null;
let loading = about.loading;

at('phones').classList.toggle('single', people.length === 1);
at('dashboard').href = about.internal;
at('dashboard').hidden = !about.dashboard;
for (const user of people) {
  document.querySelector(`.branch[data-reader="${user}"] .end .state`).textContent = `${NAMES[user]}’s page`;
  phones.set(user, new Phone(user, at('phones'), { heard, opened, lost }));
}
for (const user of Object.keys(NAMES)) putLine(user, about.lines[user]);
for (const user of Object.keys(NAMES).filter((user) => !phones.has(user))) paths.show(user, `${NAMES[user]}, elsewhere`, 'off');
if (only in NAMES) document.title = `${NAMES[only]} · sidestream demo`;
showOnline();

document.addEventListener('click', (click) => {
  const button = click.target.closest('button[data-act]');
  if (button) act(button.dataset.act, button.closest('.branch')?.dataset.reader);
});

function say(text, kind = '') {
  at('said').className = `notice ${kind}`;
  at('said').textContent = text;
}

// What arrives.

function heard(phone, { name, id, data, kind, ms, inOrder, left }) {
  if (name === 'demo:load') return report(data);
  paths.travel(phone.user, { name, ms, waited: kind === 'missed' || lines[phone.user].slow });
  if (kind === 'live' && ms !== undefined && name === 'message:new' && beside.act.value === 'message') {
    say(`Published and heard by ${NAMES[phone.user]}’s page after ${milliseconds(ms)}.`);
  }
  if (name === 'typing') return;
  // Who comes and goes is told to the other one alone.
  if (!name.startsWith('user:')) known.add(id);
  if (known.size > KNOWN) known.delete(known.values().next().value);
  resumed(phone, { kind, inOrder, left });
  if (name === 'tick') ticked(phone, data);
  count();
}

/** Shows how many events each line has still to bring, once a frame. */
function count() {
  counting ||= requestAnimationFrame(countNow);
}

function countNow() {
  counting = 0;
  for (const [user, phone] of phones) {
    const { cut, slow } = lines[user];
    const behind = cut || slow ? [...known].filter((id) => after(id, phone.lastId)).length : 0;
    paths.wait(user, behind);
    // What a page misses it learns from the other one's stream, if that is here.
    if (cut && phones.size > 1) paths.time(user, `${behind} waiting`);
  }
}

function opened(phone, info, id) {
  const line = lines[phone.user];
  paths.show(phone.user, `${NAMES[phone.user]}’s page`, 'good');
  if (line.cut) {
    putLine(phone.user, { ...line, cut: false });
    paths.time(phone.user, '');
  }
  if (info.resumed) {
    line.missed = { expected: info.missed, got: 0, inOrder: true, quiet: restart !== null };
    const wire = wireOfResume(phone, id, info);
    if (restart) restart.wire[phone.user] = wire;
    else beside.saw('cut', wire);
    if (info.missed === 0 && !restart) say(`${NAMES[phone.user]}’s page is back, and has missed nothing.`, 'good');
  }
  if (restart) back(phone, info);
  showOnline();
}

function lost(phone) {
  paths.show(phone.user, `${NAMES[phone.user]}’s page`, lines[phone.user].cut ? 'bad' : 'warn');
  restart?.lost.add(phone.user);
}

function resumed(phone, { kind, inOrder, left }) {
  const { missed } = lines[phone.user];
  if (!missed || kind !== 'missed') return;
  missed.got += 1;
  missed.inOrder &&= inOrder;
  if (left > 0) return;
  lines[phone.user].missed = null;
  const order = missed.inOrder ? 'in order' : 'OUT OF ORDER';
  const all = missed.got === missed.expected && missed.inOrder;
  if (!missed.quiet) {
    say(`${NAMES[phone.user]}: ${events(missed.expected)} missed, ${missed.got} resumed, ${order}.`, all ? 'good' : 'bad');
  }
}

const events = (count) => `${count} event${count === 1 ? '' : 's'}`;

// Who is online is asked for once; from then on it is an event.
async function showOnline() {
  try {
    const { online } = await (await fetch('/api/state')).json();
    if (!Array.isArray(online)) return;
    for (const phone of phones.values()) phone.showOther(online.includes(phone.other));
  } catch {
    // It is asked again when a stream has opened.
  }
}

// What is done.

const acts = { cut, slow, restart: restartServer, load, terminal };

async function act(name, reader) {
  try {
    await acts[name](reader);
  } catch (error) {
    say(`That was not done: ${error.message}`, 'bad');
  }
}

function putLine(user, { cut, slow }) {
  Object.assign(lines[user], { cut, slow });
  const button = (act) => document.querySelector(`.branch[data-reader="${user}"] [data-act="${act}"]`);
  button('cut').textContent = cut ? 'Mend this line' : 'Cut this line';
  button('slow').textContent = slow ? 'Full speed' : 'Slow this reader';
  for (const act of ['cut', 'slow']) button(act).setAttribute('aria-label', `${button(act).textContent}: ${NAMES[user]}`);
  button('cut').setAttribute('aria-pressed', cut);
  button('slow').setAttribute('aria-pressed', slow);
  paths.cut(user, cut);
  const phone = phones.get(user);
  if (!phone) return;
  phone.putCut(cut);
  if (cut) paths.show(user, `${NAMES[user]}, cut off`, 'bad');
  else if (slow) paths.show(user, `${NAMES[user]}, 8 KB/s`, 'warn');
  else if (phone.connected) paths.show(user, `${NAMES[user]}’s page`, 'good');
  count();
}

async function cut(user) {
  const line = lines[user];
  beside.show('cut');
  const cut = !line.cut;
  if (cut) {
    putLine(user, { ...line, cut });
    say(`${NAMES[user]}’s line is cut. Write as ${NAMES[user === 'anna' ? 'ben' : 'anna']}, then mend it.`, 'warn');
  } else {
    phones.get(user)?.show('reconnecting', 'warn');
    say(`${NAMES[user]}’s line is whole again. The browser comes back by itself, within a second.`, 'info');
  }
  await post('/api/lines', { reader: user, cut, slow: line.slow });
  // A page that is not here does not say that it is back.
  if (!cut && !phones.has(user)) putLine(user, { ...line, cut: false });
}

async function slow(user) {
  const line = lines[user];
  beside.show('slow');
  const slow = !line.slow;
  await post('/api/lines', { reader: user, cut: line.cut, slow });
  putLine(user, { ...line, slow });
  if (!slow) return;
  const began = performance.now();
  for (const each of Object.values(lines)) each.ticks = { began, count: 0, inOrder: true, last: 0 };
  line.behind = 0;
  await post('/api/burst', {});
  while (lines[user].slow && lines[user].ticks?.count < 300 && performance.now() - began < 90_000) {
    const { behind } = await post('/api/behind', { reader: user, cut: false, slow: true });
    line.behind = Math.max(line.behind, behind);
    tellTicks();
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
}

function ticked(phone, { n, of }) {
  const ticks = lines[phone.user].ticks;
  if (!ticks || ticks.began === undefined) return;
  ticks.inOrder &&= n === ticks.last + 1;
  ticks.last = n;
  ticks.count += 1;
  ticks.of = of;
  ticks.took = performance.now() - ticks.began;
  paths.time(phone.user, `${ticks.count} of ${of}`);
  if (ticks.count === of) {
    paths.time(phone.user, milliseconds(ticks.took));
    tellTicks();
  }
}

function tellTicks() {
  const rows = [...phones.keys()].map((user) => {
    const { count = 0, of = 300, took, inOrder } = lines[user].ticks ?? {};
    return `${NAMES[user].padEnd(4)}  ${String(count).padStart(3)} of ${of}${count === of ? `, ${inOrder ? 'in order' : 'OUT OF ORDER'}, after ${milliseconds(took)}` : ''}`;
  });
  const behind = Math.max(0, ...Object.values(lines).map((line) => line.behind ?? 0));
  beside.saw('slow', [...rows, '', `The server says: at most ${behind} behind in the log`].join('\n'));
  const done = [...phones.keys()].map((user) => ({ user, ...lines[user].ticks })).filter((ticks) => ticks.count === ticks.of);
  if (done.length === 0) return;
  const [first, second] = done.sort((a, b) => a.took - b.took);
  if (!second) {
    const waits = phones.size > 1 ? ` ${NAMES[first.user === 'anna' ? 'ben' : 'anna']}’s line still brings them, and holds up nobody.` : '';
    say(`${NAMES[first.user]} has all 300 events after ${milliseconds(first.took)}.${waits}`, 'info');
  } else {
    const order = first.inOrder && second.inOrder ? 'both in order' : 'OUT OF ORDER';
    say(`300 events: ${NAMES[first.user]} had them after ${milliseconds(first.took)}, ${NAMES[second.user]} after ${milliseconds(second.took)}, ${order}.`, 'good');
  }
}

async function restartServer() {
  beside.show('restart');
  restart = { began: performance.now(), lost: new Set(), back: new Map(), wire: {} };
  say('The server stops, is away for a second, and starts again. Write something meanwhile: the page keeps it.', 'warn');
  paths.root.classList.add('stopped');
  await post('/api/restart', {});
}

function back(phone, info) {
  if (!restart.lost.has(phone.user)) return;
  restart.back.set(phone.user, info);
  const waiting = [...phones.values()].filter((each) => !lines[each.user].cut && !restart.back.has(each.user));
  if (waiting.length > 0) return;
  const took = performance.now() - restart.began;
  const all = [...restart.back.values()];
  const byId = all.filter((each) => each.resumed).length;
  const missed = all.reduce((sum, each) => sum + each.missed, 0);
  say(
    `Restarted: ${byId} of ${all.length} stream${all.length === 1 ? '' : 's'} came back by their ids after ${milliseconds(took)}; ${events(missed)} missed meanwhile${missed ? ' and resumed' : ''}.`,
    byId === all.length ? 'good' : 'bad',
  );
  beside.saw('restart', Object.values(restart.wire).join('\n\n'));
  paths.root.classList.remove('stopped');
  restart = null;
}

async function load() {
  beside.show('load');
  const on = !loading;
  await post('/api/load', { on });
  putLoading(on);
  if (on) say('A thousand readers connect. What they measure arrives over this page’s own stream.', 'info');
}

function putLoading(on) {
  loading = on;
  const button = document.querySelector('[data-act="load"]');
  button.textContent = on ? 'End the readers' : '1,000 readers more';
  button.setAttribute('aria-pressed', on);
}

function report(data) {
  const sentence = charts.add(data);
  if (!data.done) {
    if (!loading) putLoading(true);
    paths.show('load', `${data.open.toLocaleString('en')} readers`, 'good');
    if (data.samples) paths.travel('load', { name: 'load', ms: data.p50 });
  }
  if (sentence) {
    putLoading(false);
    paths.show('load', 'they have left', 'off');
    say(sentence, data.received >= data.expected ? 'good' : 'bad');
  }
}

function terminal() {
  beside.show('terminal', 'curl');
  say('Copy the line under “Send” into a terminal. Both pages hear it.', 'info');
}
