// A small chat, as any Express app might be: messages are kept in Redis and announced with PUBLISH.
// It knows nothing of sidestream, and has no stream of its own: `/events` never gets here.
import { fileURLToPath } from 'node:url';
import express from 'express';
import { createClient } from 'redis';

const { PORT = 3000, REDIS_URL = 'redis://127.0.0.1:6379' } = process.env;
const KEPT = 200; // messages of each conversation

const redis = createClient({ url: REDIS_URL });
redis.on('error', (error) => console.error(`redis: ${error.message}`));
await redis.connect();

const app = express();
app.use(express.static(fileURLToPath(new URL('public', import.meta.url))));
app.use(express.json({ limit: '16kb' }));

app.get('/api/messages', async (req, res) => {
  const conversation = req.query.conversationId;
  if (!isName(conversation)) return res.status(400).json({ error: 'Which conversation?' });

  const stored = await redis.lRange(`messages:${conversation}`, -KEPT, -1);
  res.json(stored.map((text) => JSON.parse(text)));
});

app.post('/api/messages', async (req, res) => {
  const { conversationId: conversation, author, text } = req.body ?? {};
  if (!isName(conversation)) return res.status(400).json({ error: 'Which conversation?' });
  if (!isText(author, 40)) return res.status(400).json({ error: 'Who is writing?' });
  if (!isText(text, 2000)) return res.status(400).json({ error: 'A message needs 1 to 2000 characters.' });

  const id = await redis.incr('message-id');
  const message = { id, author: author.trim(), text: text.trim(), at: new Date().toISOString() };
  const json = JSON.stringify(message);
  await redis
    .multi()
    .rPush(`messages:${conversation}`, json)
    .lTrim(`messages:${conversation}`, -KEPT, -1)
    .publish(`chat:${conversation}`, json)
    .exec();
  res.status(201).json(message);
});

const isName = (value) => typeof value === 'string' && /^[\w-]{1,40}$/.test(value);
const isText = (value, most) => typeof value === 'string' && value.trim() !== '' && value.length <= most;

const server = app.listen(PORT, '127.0.0.1', (error) => {
  if (error) throw error;
  console.log(`chat listening on http://127.0.0.1:${server.address().port}`);
});
