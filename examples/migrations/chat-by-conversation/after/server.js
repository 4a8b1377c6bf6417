// A chat. Who may read and write in a conversation, its members say; everybody has a token from the login.
import { fileURLToPath } from 'node:url';
import { Publisher } from '@sidestream/server';
import express from 'express';
import jwt from 'jsonwebtoken';

const { PORT = 3000, JWT_SECRET = 'of this example only, and far too well known' } = process.env;
const MEMBERS = { tea: ['ada', 'bob'], cake: ['bob', 'eve'] };
const messages = { tea: [], cake: [] };
let lastId = 0;

const push = new Publisher(); // SIDESTREAM_URL and SIDESTREAM_KEY of the environment
const app = express();
app.use(express.static(fileURLToPath(new URL('public', import.meta.url))));
app.use(express.json({ limit: '16kb' }));

const conversationsOf = (user) => Object.keys(MEMBERS).filter((id) => MEMBERS[id].includes(user));

app.post('/api/login', (req, res) => {
  const user = req.body?.user;
  const conversations = conversationsOf(user);
  if (conversations.length === 0) return res.status(401).json({ error: 'Nobody has that name.' });
  const token = jwt.sign({ sub: user, topics: conversations.map((id) => `conversation:${id}`) }, JWT_SECRET, { expiresIn: '1h' });
  res.json({ token, conversations });
});

function member(req, res, next) {
  const token = req.get('authorization')?.replace('Bearer ', '');
  try {
    req.user = jwt.verify(token, JWT_SECRET).sub;
  } catch {
    return res.status(401).json({ error: 'Please log in.' });
  }
  req.conversation = req.query.conversationId;
  if (!conversationsOf(req.user).includes(req.conversation)) return res.status(403).json({ error: 'Not your conversation.' });
  next();
}

app.get('/api/chat/messages', member, (req, res) => res.json(messages[req.conversation]));

app.post('/api/chat/messages', member, (req, res) => {
  const text = String(req.body?.text ?? '').trim().slice(0, 2000);
  if (!text) return res.status(400).json({ error: 'A message needs a text.' });
  const message = { id: (lastId += 1), author: req.user, text, at: new Date() };
  messages[req.conversation].push(message);
  push.broadcastToConversation(req.conversation, 'message:new', message, req.user);
  res.status(201).json(message);
});

app.post('/api/chat/typing', member, (req, res) => {
  push.broadcastToConversation(req.conversation, 'typing', { user: req.user }, req.user, { ephemeral: true });
  res.sendStatus(204);
});

app.get('/api/chat/members', member, async (req, res) => {
  const members = MEMBERS[req.conversation].map(async (user) => ({ user, online: await push.hasConnection(user) }));
  res.json(await Promise.all(members));
});

app.listen(PORT, '127.0.0.1');
