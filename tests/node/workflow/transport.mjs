// The AI SDK's own WorkflowChatTransport. Arguments: the package that it is of, the URL of the chat, and for a page that has
// been opened anew the run that it joins and from where. Prints `{"text": …}` each time that the text has grown, and
// `{"end": type, "chunks": count}` with the last chunk's type.
const [of, api, run, startIndex] = process.argv.slice(2);
const { WorkflowChatTransport } = await import(of);
let chunks;
const transport = new WorkflowChatTransport({
  api,
  onChatEnd: ({ chunkIndex }) => {
    chunks = chunkIndex;
  },
  prepareReconnectToStreamRequest: run && (({ id, ...rest }) => ({ ...rest, api: `${api}/${encodeURIComponent(run)}/stream` })),
});
// It reports the cut itself.
console.error = () => {};
const stream = run
  ? await transport.reconnectToStream({ chatId: 'c', startIndex: Number(startIndex) })
  : await transport.sendMessages({ chatId: 'c', trigger: 'submit-message', messages: [] });
let text = '';
let end;
for await (const chunk of stream) {
  end = chunk.type;
  if (!chunk.delta) continue;
  text += chunk.delta;
  console.log(JSON.stringify({ text }));
}
console.log(JSON.stringify({ end, chunks }));
