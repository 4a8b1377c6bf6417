// npm `eventsource`: the browser's interface. Arguments: the URL and the names of events to listen for.
import { EventSource } from 'eventsource';
import { lost, opened, received } from './say.mjs';

const [url, ...names] = process.argv.slice(2);
const source = new EventSource(url);

source.addEventListener('open', opened);
source.addEventListener('error', (error) => lost(error.message));
for (const name of ['message', ...names]) {
  source.addEventListener(name, (event) => received(event.type, event.data, event.lastEventId));
}
