// A desk: what happens is told to a user's sessions, to one session, or to everybody.
import { fileURLToPath } from 'node:url';
import express from 'express';
import { sseManager } from './sse-manager.js';

const app = express();
const folder = (name) => express.static(fileURLToPath(new URL(name, import.meta.url)));
app.use(folder('public'));
app.use('/dist', folder('dist'));
app.use(express.json({ limit: '16kb' }));

app.get('/sse/connect', (req, res) => {
  const { userId, sessionId } = req.query;
  if (!userId || !sessionId) return res.status(400).json({ error: 'Which user and session?' });
  sseManager.addClient(res, { userId, sessionId });
});

app.get('/sse/stats', (req, res) => res.json(sseManager.getStats()));

app.delete('/sse/clients/:id', (req, res) => {
  sseManager.disconnectClient(req.params.id);
  res.sendStatus(204);
});

app.post('/api/notify', (req, res) => {
  const { target, id, text } = req.body ?? {};
  const data = { text: String(text ?? '').slice(0, 2000) };
  if (target === 'user') sseManager.sendToUser(id, 'notification', data);
  else if (target === 'session') sseManager.sendToSession(id, 'notification', data);
  else if (target === 'all') sseManager.sendToAll('announcement', data);
  else return res.status(400).json({ error: 'For whom?' });
  res.sendStatus(202);
});

app.listen(process.env.PORT ?? 3000, '127.0.0.1');
