// A board whose server sends HTML: the page as a whole, and each new message as a <turbo-stream> in the stream.
import { fileURLToPath } from 'node:url';
import { Publisher } from '@sidestream/server';
import express from 'express';
import { add, item, list } from './messages.mjs';
import { page, textField } from './page.js';

const push = new Publisher(); // SIDESTREAM_URL and SIDESTREAM_KEY of the environment
const app = express();
const folder = (name) => express.static(fileURLToPath(new URL(name, import.meta.url)));
app.use(folder('public'));
app.use('/turbo', folder('node_modules/@hotwired/turbo/dist'));
app.use(express.urlencoded({ limit: '16kb' }));

const turboStream = (action, target, html) =>
  `<turbo-stream action="${action}" target="${target}"><template>${html}</template></turbo-stream>`;

// First where the log ends, then what there is: the page's stream goes on from there, without a gap. A message that is in
// both is no harm: Turbo replaces what has the same id.
app.get('/', async (req, res) => {
  const position = await push.query.position();
  res.set('cache-control', 'no-store').send(page(position, list()));
});

app.post('/messages', (req, res) => {
  const [author, text] = [req.body?.author, req.body?.text].map((field) => String(field ?? '').trim().slice(0, 2000));
  if (!author || !text) return res.sendStatus(422);
  // Without a name of the event: Turbo takes what is a plain `message`.
  push.publish({ topic: 'board', data: turboStream('append', 'messages', item(add(author, text))) });
  res.type('text/vnd.turbo-stream.html').send(turboStream('replace', 'text', textField));
});

app.listen(process.env.PORT ?? 3000, '127.0.0.1');
