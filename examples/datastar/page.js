export const listElement = (list) =>
  `<ol id="messages" class="messages" tabindex="0" aria-label="Messages" aria-live="polite" data-empty="Nothing here yet. Write the first message.">${list}</ol>`;

export const page = (position, list) => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Board with Datastar</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
<script type="module" src="/datastar.js"></script>
<body data-signals="{author: 'guest', text: ''}">
<header data-on-load="@get('/events?lastEventId=${position}', {openWhenHidden: true, retryMaxCount: Infinity})">
  <h1>Board with Datastar</h1>
  <p>Open this page in two windows. What you write in one appears in the other.</p>
</header>
${listElement(list)}
<form data-on-submit="@post('/messages')">
  <label class="short">Name <input id="author" data-bind-author maxlength="40" autocomplete="off" required></label>
  <label class="wide">Message <input id="text" data-bind-text maxlength="2000" autocomplete="off" autofocus required></label>
  <button id="send" class="primary">Send message</button>
</form>
</body>
</html>
`;
