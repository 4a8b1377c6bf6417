// A board whose server sends HTML: the page as a whole, and then the list, merged into the page by Datastar.
import { fileURLToPath } from 'node:url';
import { Publisher } from '@sidestream/server';
import express from 'express';
import { add, list } from './messages.mjs';
import { listElement, page } from './page.js';

const push = new Publisher(); // SIDESTREAM_URL and SIDESTREAM_KEY of the environment
const app = express();
app.use(express.static(fileURLToPath(new URL('public', import.meta.url))));
app.use(express.json({ limit: '16kb' }));

// First where the log ends, then what there is: the page's stream goes on from there, without a gap.
app.get('/', async (req, res) => {
  const position = await push.query.position();
  res.set('cache-control', 'no-store').send(page(position, list()));
});

app.post('/messages', (req, res) => {
  const [author, text] = [req.body?.author, req.body?.text].map((field) => String(field ?? '').trim().slice(0, 2000));
  if (!author || !text) return res.sendStatus(400);
  add(author, text);
  // The whole list, which Datastar merges by the ids of its items. A page that was away needs the newest only: `coalesce`.
  push.publish({
    topic: 'board',
    event: 'datastar-merge-fragments',
    data: `fragments ${listElement(list())}`,
    coalesce: 'list',
  });
  // The answer to the form is a stream of its own that empties the field, and ends.
  res.type('text/event-stream').send('event: datastar-merge-signals\ndata: signals {text: ""}\n\n');
});

app.listen(process.env.PORT ?? 3000, '127.0.0.1');
