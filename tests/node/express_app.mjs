// An Express application with a stream that it writes by hand, without ids. Takes the port, and prints it.
import { createRequire } from 'node:module';

const express = createRequire(new URL('../../examples/express/package.json', import.meta.url))('express');
const app = express();
const open = new Set();
let opened = 0;
let number = 0;

app.get('/events', (req, res) => {
  opened++;
  res.set({ 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', Connection: 'keep-alive' });
  res.flushHeaders();
  open.add(res);
  req.on('close', () => open.delete(res));
});

app.get('/say', (req, res) => {
  number++;
  for (const one of open) one.write(`event: tick\ndata: ${number}\ndata: zwei\n\n`);
  res.send('said');
});

app.get('/count', (req, res) => res.send(`${opened} ${open.size}`));

const server = app.listen(Number(process.argv[2]), '127.0.0.1', () => console.log(server.address().port));
