// Notifications for users, whose token comes in a header, in the query or in a cookie.
import { fileURLToPath } from 'node:url';
import express from 'express';
import jwt from 'jsonwebtoken';
import { addClient, hasConnection, sendToUsers } from './sse.js';

const { PORT = 3000, JWT_SECRET = 'of this example only, and far too well known' } = process.env;
const USERS = ['ada', 'bob', 'eve'];
let lastId = 0;

const app = express();
app.use(express.static(fileURLToPath(new URL('public', import.meta.url))));
app.use(express.json({ limit: '16kb' }));

app.post('/api/login', (req, res) => {
  const user = req.body?.user;
  if (!USERS.includes(user)) return res.status(401).json({ error: 'Nobody has that name.' });
  const token = jwt.sign({ sub: user }, JWT_SECRET, { expiresIn: '1h' });
  res.cookie('token', token, { httpOnly: true, sameSite: 'strict' }).json({ token });
});

function tokenOf(req) {
  const [scheme, token] = (req.get('authorization') ?? '').split(' ');
  if (scheme === 'Bearer') return token;
  return req.query.token ?? /(?:^|; )token=([^;]*)/.exec(req.get('cookie') ?? '')?.[1];
}

function loggedIn(req, res, next) {
  try {
    req.user = jwt.verify(tokenOf(req), JWT_SECRET).sub;
  } catch {
    return res.status(401).json({ error: 'Please log in.' });
  }
  next();
}

app.get('/api/events', loggedIn, (req, res) => addClient(req.user, req, res));

app.get('/api/users', loggedIn, (req, res) => {
  res.json(USERS.map((user) => ({ user, online: hasConnection(user) })));
});

app.post('/api/notifications', loggedIn, (req, res) => {
  const users = [req.body?.users ?? []].flat().filter((user) => USERS.includes(user));
  const text = String(req.body?.text ?? '').trim().slice(0, 2000);
  if (users.length === 0 || !text) return res.status(400).json({ error: 'For whom, and what?' });
  sendToUsers(users, 'notification', { id: (lastId += 1), from: req.user, text, at: new Date() });
  res.sendStatus(202);
});

app.listen(PORT, '127.0.0.1');
