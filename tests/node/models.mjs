// What models say, as the servers that clients are made for have it: the same words in four dialects, by the paths of the chats.

export const words = Array.from({ length: 40 }, (_, n) => `${n}: grüße 👋🏽 “ok”\n`);

/** One block of an event stream. */
const block = (chunk) => `data: ${JSON.stringify(chunk)}\n\n`;

const aiSdk = {
  head: { 'x-vercel-ai-ui-message-stream': 'v1' },
  before: [{ type: 'start', messageId: 'm' }, { type: 'text-start', id: 't' }].map(block),
  word: (delta) => block({ type: 'text-delta', id: 't', delta }),
  after: [...[{ type: 'text-end', id: 't' }, { type: 'finish' }].map(block), 'data: [DONE]\n\n'],
};

function tanstack({ runId, threadId }) {
  const at = { timestamp: 1 };
  const before = [
    { type: 'RUN_STARTED', runId, threadId, ...at },
    { type: 'TEXT_MESSAGE_START', messageId: 'm', role: 'assistant', ...at },
  ];
  const after = [
    { type: 'TEXT_MESSAGE_END', messageId: 'm', ...at },
    { type: 'RUN_FINISHED', runId, threadId, finishReason: 'stop', ...at },
  ];
  const word = (delta) => block({ type: 'TEXT_MESSAGE_CONTENT', messageId: 'm', delta, ...at });
  return { head: {}, before: before.map(block), word, after: after.map(block) };
}

function responses({ background }) {
  let next = 0;
  const named = (type, more) => `event: ${type}\n${block({ type, sequence_number: next++, ...more })}`;
  const response = { id: 'resp_1', object: 'response', background, output: [] };
  const item = { id: 'msg_1', type: 'message', role: 'assistant', content: [] };
  const part = { item_id: item.id, output_index: 0, content_index: 0 };
  const text = words.join('');
  const content = [{ type: 'output_text', text, annotations: [] }];
  return {
    head: {},
    before: [
      named('response.created', { response: { ...response, status: 'queued' } }),
      named('response.in_progress', { response: { ...response, status: 'in_progress' } }),
      named('response.output_item.added', { output_index: 0, item }),
      named('response.content_part.added', { ...part, part: { type: 'output_text', text: '', annotations: [] } }),
    ],
    word: (delta) => named('response.output_text.delta', { ...part, delta }),
    // Made when it is asked for: its numbers come behind those of the words.
    get after() {
      return [
        named('response.output_text.done', { ...part, text }),
        named('response.output_item.done', { output_index: 0, item: { ...item, content } }),
        named('response.completed', { response: { ...response, status: 'completed', output: [{ ...item, content }] } }),
      ];
    },
  };
}

/** By path: what the answer to a request's body is made of. */
export const dialects = {
  '/api/chat': () => aiSdk,
  '/api/flow': () => ({ ...aiSdk, head: { ...aiSdk.head, 'x-workflow-run-id': 'run/7' } }),
  '/api/run': tanstack,
  '/v1/responses': responses,
};
