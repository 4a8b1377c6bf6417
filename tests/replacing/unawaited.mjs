// Calls the page's code for Node as applications do: 200 pairs that nobody awaits, in handlers that catch nothing.
import * as push from "./push.mjs";

async function handler(n) {
  push.sendToUser("u1", "first", { n });
  push.broadcastToConversation("42", "second", { n: n + 1 });
}
for (let n = 0; n < 400; n += 2) handler(n);
