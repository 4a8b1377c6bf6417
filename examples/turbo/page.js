export const textField = '<input id="text" name="text" maxlength="2000" autocomplete="off" autofocus required>';

export const page = (position, list) => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Board with Turbo</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
<script type="module" src="/turbo/turbo.es2017-esm.js"></script>
<header>
  <h1>Board with Turbo</h1>
  <p>Open this page in two windows. What you write in one appears in the other.</p>
</header>
<turbo-stream-source src="/events?lastEventId=${position}"></turbo-stream-source>
<ol id="messages" class="messages" tabindex="0" aria-label="Messages" aria-live="polite" data-empty="Nothing here yet. Write the first message.">${list}</ol>
<form action="/messages" method="post">
  <label class="short">Name <input id="author" name="author" maxlength="40" value="guest" autocomplete="off" required></label>
  <label class="wide">Message ${textField}</label>
  <button id="send" class="primary">Send message</button>
</form>
<script type="module">
// The log no longer has what this page missed: load it anew.
document.querySelector('turbo-stream-source').streamSource.addEventListener('reset', () => location.reload());
</script>
</html>
`;
