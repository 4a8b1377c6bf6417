// better-sse as its documentation shows it: a session a reader, a channel a topic.
import { createServer } from 'node:http';
import { createChannel, createSession } from 'better-sse';

const topics = new Map();
const channel = (topic) => {
  let found = topics.get(topic);
  if (!found) topics.set(topic, (found = createChannel()));
  return found;
};

const server = createServer(async (req, res) => {
  const [, door, topic] = req.url.split('/');
  if (door === 'sub') {
    channel(topic).register(await createSession(req, res, { keepAlive: null }));
    return;
  }
  const parts = [];
  req.on('data', (part) => parts.push(part));
  req.on('end', () => {
    channel(topic).broadcast(JSON.parse(Buffer.concat(parts)));
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
