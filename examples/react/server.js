// The API of the board. It has no stream of its own: `/events` never gets here.
import { fileURLToPath } from 'node:url';
import { Publisher } from '@sidestream/server';
import express from 'express';

const KEPT = 200; // messages of each room
const rooms = new Map();
let lastId = 0;

const push = new Publisher(); // SIDESTREAM_URL and SIDESTREAM_KEY of the environment
const app = express();
app.use(express.static(fileURLToPath(new URL('dist', import.meta.url))));
app.use(express.json({ limit: '16kb' }));

app.get('/api/messages', (req, res) => res.json(rooms.get(req.query.room) ?? []));

app.post('/api/messages', (req, res) => {
  const [room, author, text] = ['room', 'author', 'text'].map((field) => String(req.body?.[field] ?? '').trim());
  if (!room || room.length > 40 || !author || author.length > 40 || !text || text.length > 2000) {
    return res.status(400).json({ error: 'A message needs a room, an author and 1 to 2000 characters.' });
  }
  const message = { id: (lastId += 1), author, text, at: new Date() };
  rooms.set(room, [...(rooms.get(room) ?? []), message].slice(-KEPT));
  push.sendToTopic(`room:${room}`, 'message:new', message);
  res.status(201).json(message);
});

// To everybody but the stream of the page that says so; and worthless a moment later, so it is never stored.
app.post('/api/typing', (req, res) => {
  const { room, author, client } = req.body ?? {};
  push.sendToTopic(`room:${room}`, 'typing', { author }, { ephemeral: true, except: { client } });
  res.sendStatus(204);
});

app.listen(process.env.PORT ?? 3000, '127.0.0.1');
