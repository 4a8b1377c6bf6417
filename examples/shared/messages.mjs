// The messages, and what they look like: the same piece of HTML in the page and in the stream.
const KEPT = 200;
const messages = [];
let lastId = 0;

export function add(author, text) {
  const message = { id: (lastId += 1), author, text, at: new Date() };
  messages.push(message);
  if (messages.length > KEPT) messages.shift();
  return message;
}

export const list = () => messages.map(item).join('');

export const item = ({ id, author, text, at }) =>
  `<li id="message-${id}"><b>${escaped(author)}</b><time>${at.toTimeString().slice(0, 5)}</time><p>${escaped(text)}</p></li>`;

const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escaped = (text) => text.replace(/[&<>"']/g, (sign) => ENTITIES[sign]);
