// A desk: what happens is told to a user's sessions, to one session, or to everybody.
import { fileURLToPath } from 'node:url';
import { Publisher } from '@sidestream/server';
import express from 'express';

const push = new Publisher(); // SIDESTREAM_URL and SIDESTREAM_KEY of the environment
const app = express();
const folder = (name) => express.static(fileURLToPath(new URL(name, import.meta.url)));
app.use(folder('public'));
app.use('/dist', folder('dist'));
app.use(express.json({ limit: '16kb' }));

app.get('/sse/stats', async (req, res) => {
  const clients = (await push.getActiveConnections()).map(({ client, user, session }) => ({ id: client, userId: user, sessionId: session }));
  res.json({ total: clients.length, clients });
});

app.delete('/sse/clients/:id', (req, res) => {
  push.disconnectClient(req.params.id);
  res.sendStatus(204);
});

app.post('/api/notify', (req, res) => {
  const { target, id, text } = req.body ?? {};
  const data = { text: String(text ?? '').slice(0, 2000) };
  if (target === 'user') push.sendToUser(id, 'notification', data);
  else if (target === 'session') push.sendToSession(id, 'notification', data);
  else if (target === 'all') push.sendToAll('announcement', data);
  else return res.status(400).json({ error: 'For whom?' });
  res.sendStatus(202);
});

app.listen(process.env.PORT ?? 3000, '127.0.0.1');
