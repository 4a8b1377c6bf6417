// A board whose server sends HTML: the page as a whole, and each new message as the same piece of HTML in the stream.
import { fileURLToPath } from 'node:url';
import { Publisher } from '@sidestream/server';
import express from 'express';
import { add, item, list } from './messages.mjs';
import { page2, page4 } from './pages.js';

const push = new Publisher(); // SIDESTREAM_URL and SIDESTREAM_KEY of the environment
const app = express();
const folder = (name) => express.static(fileURLToPath(new URL(name, import.meta.url)));
app.use(folder('public'));
app.use('/htmx4', folder('node_modules/htmx.org/dist'));
app.use('/htmx2', folder('node_modules/htmx2/dist'));
app.use('/htmx2-sse', folder('node_modules/htmx-ext-sse/dist'));
app.use(express.urlencoded({ limit: '16kb' }));

// First where the log ends, then what there is: the page's stream goes on from there, without a gap.
const render = (page) => async (req, res) => {
  const position = await push.query.position();
  res.set('cache-control', 'no-store').send(page(position, list()));
};
app.get('/', render(page4));
app.get('/htmx-2', render(page2));

app.post('/messages', (req, res) => {
  const [author, text] = [req.body?.author, req.body?.text].map((field) => String(field ?? '').trim().slice(0, 2000));
  if (!author || !text) return res.sendStatus(400);
  // Without a name of the event: htmx swaps in what is a plain `message`.
  push.publish({ topic: 'board', data: item(add(author, text)) });
  res.sendStatus(204);
});

app.listen(process.env.PORT ?? 3000, '127.0.0.1');
