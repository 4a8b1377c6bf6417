// A small app with a session login, as any Express app might be. sidestream asks `/api/me`, which the app has anyhow,
// who a caller is; only `/api/ticket` and the publish in `/api/notes` know of sidestream at all.
import { fileURLToPath } from 'node:url';
import express from 'express';
import session from 'express-session';

const { PORT = 3000, SIDESTREAM_URL = 'http://127.0.0.1:8081', SIDESTREAM_KEY = 'change-me' } = process.env;
const TEAMS = { ada: ['blue'], bob: ['red'], eve: ['blue', 'red'] };

const app = express();
app.use(express.static(fileURLToPath(new URL('public', import.meta.url))));
app.use(express.json({ limit: '16kb' }));
app.use(session({ secret: 'of this example only', resave: false, saveUninitialized: false, rolling: true }));

app.post('/login', (req, res, next) => {
  const name = req.body?.name;
  if (!Object.hasOwn(TEAMS, name)) return res.status(400).json({ error: 'Nobody has that name.' });
  req.session.regenerate((error) => {
    if (error) return next(error);
    req.session.user = name;
    res.json({ id: name });
  });
});

app.post('/logout', (req, res, next) =>
  req.session.destroy((error) => (error ? next(error) : res.clearCookie('connect.sid').json({}))),
);

const loggedIn = (req, res, next) =>
  req.session.user ? next() : res.status(401).json({ error: 'Please log in.' });

app.get('/api/me', loggedIn, (req, res) => {
  const id = req.session.user;
  res.json({ id, teams: TEAMS[id] });
});

app.post('/api/notes', loggedIn, async (req, res) => {
  const { team, text } = req.body ?? {};
  if (!TEAMS[req.session.user].includes(team)) return res.status(403).json({ error: 'Not your team.' });
  await sidestream('/publish', {
    topic: `team:${team}`,
    event: 'note',
    data: { by: req.session.user, text: String(text) },
  });
  res.status(201).json({});
});

// For pages whose EventSource cannot send the session's cookie: a ticket that is good once, for half a minute.
app.post('/api/ticket', loggedIn, async (req, res) => {
  const user = req.session.user;
  const claims = { teams: TEAMS[user] };
  const { ticket } = await sidestream('/tickets', { user, claims, expires_in: 900 });
  res.json({ ticket });
});

async function sidestream(path, body) {
  const response = await fetch(SIDESTREAM_URL + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${SIDESTREAM_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`sidestream answered ${response.status}: ${await response.text()}`);
  return response.json();
}

const server = app.listen(PORT, '127.0.0.1', (error) => {
  if (error) throw error;
  console.log(`notes listening on http://127.0.0.1:${server.address().port}`);
});
