// npm `pusher`. Arguments: the port of the internal listener, app id, key, secret. Each line on stdin is
// {"trigger": [channels, event, data, params]}, {"batch": [events]} or {"get": {path, params}}; each is answered by a line
// with the status.
import { createInterface } from 'node:readline';
import Pusher from 'pusher';

const [port, appId, key, secret] = process.argv.slice(2);
const pusher = new Pusher({ appId, key, secret, host: '127.0.0.1', port, useTLS: false });
for await (const line of createInterface({ input: process.stdin })) {
  const { trigger, batch, get } = JSON.parse(line);
  const ask = () => (get ? pusher.get(get) : batch ? pusher.triggerBatch(batch) : pusher.trigger(...trigger));
  try {
    const response = await ask();
    console.log(JSON.stringify({ status: response.status, body: await response.text() }));
  } catch (error) {
    console.log(JSON.stringify({ status: error.status, body: error.body }));
  }
}
