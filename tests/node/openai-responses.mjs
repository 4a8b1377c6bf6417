// OpenAI's own client for Node, of an answer in the background: what it has lost of it, it retrieves. Arguments: the URL of the
// API, and `retrieve` with the answer's id and the number behind which to go on. Prints `{"id": …, "at": number, "text": …}`
// each time that the text has grown, and `{"end": type, "at": number}` with the last event's type and number; `{"failed": …}` when the
// connection breaks, after which it retrieves the rest and goes on.
import OpenAI from 'openai';

const [baseURL, what, known, after] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: 'sk-of-the-tests', maxRetries: 5 });
const background = { model: 'm', input: 'go', stream: true, background: true };
const retrieve = (id, starting_after) => client.responses.retrieve(id, { stream: true, starting_after });

let [id, at] = [known, after && Number(after)];
let text = '';
let stream = await (what === 'retrieve' ? retrieve(id, at) : client.responses.create(background));
for (let end; end !== 'response.completed'; ) {
  try {
    for await (const event of stream) {
      end = event.type;
      at = event.sequence_number;
      id ??= event.response?.id;
      if (event.type !== 'response.output_text.delta') continue;
      text += event.delta;
      console.log(JSON.stringify({ id, at, text }));
    }
    console.log(JSON.stringify({ end, at }));
    if (what === 'retrieve') break;
  } catch (error) {
    console.log(JSON.stringify({ failed: error.constructor.name }));
  }
  if (end !== 'response.completed') stream = await retrieve(id, at);
}
