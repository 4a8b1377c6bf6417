// A chat. Who may read and write in a conversation, its members say; everybody has a token from the login.
import { fileURLToPath } from 'node:url';
import express from 'express';
import jwt from 'jsonwebtoken';
import { addClient, broadcastToConversation, hasConnection } from './sse.js';

const { PORT = 3000, JWT_SECRET = 'of this example only, and far too well known' } = process.env;
const MEMBERS = { tea: ['ada', 'bob'], cake: ['bob', 'eve'] };
const messages = { tea: [], cake: [] };
let lastId = 0;

const app = express();
app.use(express.static(fileURLToPath(new URL('public', import.meta.url))));
app.use(express.json({ limit: '16kb' }));

const conversationsOf = (user) => Object.keys(MEMBERS).filter((id) => MEMBERS[id].includes(user));

app.post('/api/login', (req, res) => {
  const user = req.body?.user;
  const conversations = conversationsOf(user);
  if (conversations.length === 0) return res.status(401).json({ error: 'Nobody has that name.' });
  const token = jwt.sign({ sub: user }, JWT_SECRET, { expiresIn: '1h' });
  res.json({ token, conversations });
});

// EventSource sends no header, so the token of a stream comes in the query.
function user(req, res, next) {
  const token = req.query.token ?? req.get('authorization')?.replace('Bearer ', '');
  try {
    req.user = jwt.verify(token, JWT_SECRET).sub;
  } catch {
    return res.status(401).json({ error: 'Please log in.' });
  }
  next();
}

function conversation(req, res, next) {
  req.conversation = req.query.conversationId;
  if (!conversationsOf(req.user).includes(req.conversation)) return res.status(403).json({ error: 'Not your conversation.' });
  next();
}

const member = [user, conversation];

// Without a conversation it is for all of the user's.
app.get('/api/chat/stream', user, (req, res) => {
  if (!req.query.conversationId) return addClient(conversationsOf(req.user), req.user, req, res);
  conversation(req, res, () => addClient([req.conversation], req.user, req, res));
});

app.get('/api/chat/messages', member, (req, res) => res.json(messages[req.conversation]));

app.post('/api/chat/messages', member, (req, res) => {
  const text = String(req.body?.text ?? '').trim().slice(0, 2000);
  if (!text) return res.status(400).json({ error: 'A message needs a text.' });
  const message = { id: (lastId += 1), author: req.user, text, at: new Date() };
  messages[req.conversation].push(message);
  broadcastToConversation(req.conversation, 'message:new', message, req.user);
  res.status(201).json(message);
});

app.post('/api/chat/typing', member, (req, res) => {
  broadcastToConversation(req.conversation, 'typing', { user: req.user }, req.user);
  res.sendStatus(204);
});

app.get('/api/chat/members', member, (req, res) => {
  res.json(MEMBERS[req.conversation].map((user) => ({ user, online: hasConnection(user) })));
});

app.listen(PORT, '127.0.0.1');
