// The board for htmx 4 and for htmx 2. They differ in their scripts and in the attributes of the list.
const head = (version, scripts) => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Board with htmx ${version}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
${scripts.map((script) => `<script src="${script}"></script>`).join('\n')}
<header>
  <h1>Board with htmx ${version}</h1>
  <span id="state" class="state connecting" role="status">connecting</span>
  <p>Open this page in two windows. What you write in one appears in the other.</p>
</header>`;

const form = (afterRequest) => `
<form hx-post="/messages" hx-swap="none" ${afterRequest}="this.text.value = ''">
  <label class="short">Name <input id="author" name="author" maxlength="40" value="guest" autocomplete="off" required></label>
  <label class="wide">Message <input id="text" name="text" maxlength="2000" autocomplete="off" autofocus required></label>
  <button id="send" class="primary">Send message</button>
</form>`;

const empty = 'Nothing here yet. Write the first message.';

const script = (lines) => `
<script>
const say = (word) => { state.className = 'state ' + word; state.textContent = word; };
// A message that came between the position and the page is in both.
const isThere = (html) => document.getElementById(/id="([^"]+)"/.exec(html)?.[1]) !== null;
${lines}
</script>
</html>
`;

export const page4 = (position, list) => `${head(4, ['/htmx4/htmx.min.js', '/htmx4/ext/hx-sse.min.js'])}
<ol id="messages" class="messages" tabindex="0" aria-label="Messages" aria-live="polite" data-empty="${empty}"
  hx-sse:connect="/events?lastEventId=${position}" hx-swap="beforeend" hx-on:reset="location.reload()">${list}</ol>
${form('hx-on::after:request')}
${script(`document.addEventListener('htmx:sse:after:connection', () => say('live'));
document.addEventListener('htmx:sse:before:connection', ({ detail }) => { if (detail.connection.attempt > 0) say('reconnecting'); });
document.addEventListener('htmx:sse:before:message', (event) => { if (isThere(event.detail.message.data)) event.preventDefault(); });`)}`;

export const page2 = (position, list) => `${head(2, ['/htmx2/htmx.min.js', '/htmx2-sse/sse.min.js'])}
<div hx-ext="sse" sse-connect="/events?lastEventId=${position}">
  <ol id="messages" class="messages" tabindex="0" aria-label="Messages" aria-live="polite" data-empty="${empty}" sse-swap="message" hx-swap="beforeend">${list}</ol>
  <span hx-trigger="sse:reset" hx-on:sse:reset="location.reload()"></span>
</div>
${form('hx-on::after-request')}
${script(`document.addEventListener('htmx:sseOpen', () => say('live'));
document.addEventListener('htmx:sseError', () => say('reconnecting'));
document.addEventListener('htmx:sseBeforeMessage', (event) => { if (isThere(event.detail.data)) event.preventDefault(); });
// Where a browser has given up, the extension opens a new EventSource and forgets the last id.
let last;
htmx.createEventSource = (url) => {
  const source = new EventSource(last ? '/events?lastEventId=' + last : url);
  source.addEventListener('message', (event) => { last = event.lastEventId; });
  return source;
};`)}`;
