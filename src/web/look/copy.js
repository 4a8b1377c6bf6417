// Code with a button that copies it.

/** A `figure.code` of `text`; `wrap` breaks long lines instead of scrolling. The button copies what is shown then. */
export function code(text, { wrap = false } = {}) {
  const figure = document.createElement('figure');
  figure.className = 'code';
  const pre = document.createElement('pre');
  pre.tabIndex = 0;
  if (wrap) pre.className = 'wrap';
  pre.textContent = text;
  figure.append(copyButton(() => pre.textContent), pre);
  return figure;
}

/** A button that copies what `text` gives, and says so for two seconds. */
export function copyButton(text, label = 'Copy') {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = label;
  button.setAttribute('aria-live', 'polite');
  button.addEventListener('click', async () => {
    const done = await copy(text());
    button.textContent = done ? 'Copied' : 'Select and copy by hand';
    setTimeout(() => (button.textContent = label), 2000);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages over plain HTTP have no clipboard beyond loopback.
    const field = document.createElement('textarea');
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    return done;
  }
}
