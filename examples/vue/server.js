// Jobs that take a while and tell how far they are. The app has no stream of its own: `/events` never gets here.
import { fileURLToPath } from 'node:url';
import { Publisher } from '@sidestream/server';
import express from 'express';

const { PORT = 3000, STEP = 400 } = process.env; // milliseconds
const jobs = [];

const push = new Publisher(); // SIDESTREAM_URL and SIDESTREAM_KEY of the environment
const app = express();
app.use(express.static(fileURLToPath(new URL('dist', import.meta.url))));
app.use(express.json({ limit: '16kb' }));

app.get('/api/jobs', (req, res) => res.json(jobs));

app.post('/api/jobs', (req, res) => {
  const name = String(req.body?.name ?? '').trim();
  if (!name || name.length > 60) return res.status(400).json({ error: 'A job needs a name of 1 to 60 characters.' });
  const job = { id: jobs.length + 1, name, done: 0, of: 20 };
  jobs.push(job);
  work(job);
  res.status(201).json(job);
});

function work(job) {
  // A page that comes back needs only the newest of each job: `coalesce`.
  push.sendToTopic('jobs', 'job', job, { coalesce: `job:${job.id}` });
  if (job.done === job.of) return;
  setTimeout(() => {
    job.done += 1;
    work(job);
  }, Number(STEP));
}

app.listen(PORT, '127.0.0.1');
