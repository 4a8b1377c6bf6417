// The loop that many backends have today: a set of responses a topic, and one `res.write` after the other.
import { createServer } from 'node:http';

const topics = new Map();
let id = 0;

const server = createServer((req, res) => {
  const [, door, topic] = req.url.split('/');
  if (door === 'sub') {
    res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    res.flushHeaders();
    let readers = topics.get(topic);
    if (!readers) topics.set(topic, (readers = new Set()));
    readers.add(res);
    res.on('close', () => readers.delete(res));
    return;
  }
  const parts = [];
  req.on('data', (part) => parts.push(part));
  req.on('end', () => {
    const frame = Buffer.from(`data: ${Buffer.concat(parts)}\nid: ${++id}\n\n`);
    for (const reader of topics.get(topic) ?? []) reader.write(frame);
    res.writeHead(200, { 'content-length': 0 });
    res.end();
  });
});
server.keepAliveTimeout = 0;
server.requestTimeout = 0;
server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => {
  const { address, port } = server.address();
  console.log(`listening ${address}:${port} ${address}:${port}`);
});
