// A list that all pages have in common: each change goes to all of them but the one that made it.
import { fileURLToPath } from 'node:url';
import express from 'express';
import { addClient, broadcast } from './sync.js';

const todos = new Map();

const app = express();
app.use(express.static(fileURLToPath(new URL('public', import.meta.url))));
app.use(express.json({ limit: '16kb' }));

app.get('/api/sync', addClient);

app.get('/api/todos', (req, res) => res.json([...todos.values()]));

app.put('/api/todos/:id', (req, res) => {
  const { id } = req.params;
  const text = String(req.body?.text ?? '').trim().slice(0, 200);
  if (!/^[\w-]{1,40}$/.test(id) || !text) return res.status(400).json({ error: 'Something to do needs an id and a text.' });
  const todo = { id, text, done: req.body.done === true };
  todos.set(id, todo);
  broadcast({ type: 'todo', todo }, req.get('x-client-id'));
  res.json(todo);
});

app.listen(process.env.PORT ?? 3000, '127.0.0.1');
