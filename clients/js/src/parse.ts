// Bytes of an event stream to blocks, as WHATWG HTML § 9.2.6 has it. Knows nothing of connections.

/** JSON, or the text where it is none. */
export const json = (text: string): any => {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
};

/** Far more than any server of ours sends: what is longer is no event, but memory running full. */
const LONGEST = 1 << 24;

/**
 * Takes the body's chunks as they come, cut anywhere. `block` gets each block that ended, with `id` only where the block
 * had one and `data` undefined where it had none; `line` hears of `retry` and, with nothing, of comments.
 */
export function parser(
  block: (type: string, data: string | undefined, id: string | undefined) => void,
  line: (retry?: number) => void,
): (chunk: Uint8Array) => void {
  // Takes a byte-order mark away, too.
  const decoder = new TextDecoder();
  const end = /\r\n?|\n/g;
  let text = '';
  let afterCr = false;
  let type = '';
  let data: string | undefined;
  let id: string | undefined;

  const take = (all: string) => {
    if (!all) {
      block(type || 'message', data, id);
      type = '';
      data = id = undefined;
      return;
    }
    const colon = all.indexOf(':');
    const field = colon < 0 ? all : all.slice(0, colon);
    const value = colon < 0 ? '' : all.slice(colon + (all[colon + 1] === ' ' ? 2 : 1));
    if (!field) line();
    else if (field === 'data') data = data === undefined ? value : data + '\n' + value;
    else if (field === 'event') type = value;
    else if (field === 'id' && !value.includes('\0')) id = value;
    else if (field === 'retry' && /^\d+$/.test(value)) line(+value);
  };

  return (chunk) => {
    let more = decoder.decode(chunk, { stream: true });
    if (!more) return;
    // The second half of a CRLF whose first half ended a line already.
    if (afterCr && more[0] === '\n') more = more.slice(1);
    afterCr = more.endsWith('\r');
    let start = 0;
    // Only what is new is searched: `text` stays the pieces it was made of until its line ends.
    for (let found; (found = end.exec(more)); start = end.lastIndex) {
      take(text + more.slice(start, found.index));
      text = '';
    }
    text += more.slice(start);
    if (text.length + (data?.length ?? 0) > LONGEST) throw Error('too long');
  };
}
