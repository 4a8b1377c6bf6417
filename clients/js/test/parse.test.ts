// The format, byte for byte. The parser is no export of the package: it is taken from where it was built.

import assert from 'node:assert/strict';
import { test } from 'node:test';
const { parser } = (await import(new URL('../dist/parse.js', import.meta.url).href)) as {
  parser(block: (...block: unknown[]) => void, line: (retry?: number) => void): (chunk: Uint8Array) => void;
};

/** What comes of `text` when it arrives in pieces of `size` bytes. */
function parsed(text: string, size = Infinity) {
  const seen: unknown[] = [];
  const read = parser(
    (type, data, id) => seen.push([type, data, id]),
    (retry) => seen.push(retry ?? 'comment'),
  );
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length; at += size) read(bytes.slice(at, at + size));
  return seen;
}

const cases: [name: string, text: string, blocks: unknown[]][] = [
  ['a block with every field', 'retry: 7\nevent: a\ndata: 1\nid: 5\n\n', [7, ['a', '1', '5']]],
  ['a name is message where there is none', 'data: 1\n\n', [['message', '1', undefined]]],
  ['lines of data are joined', 'data: a\ndata:\ndata: b\n\n', [['message', 'a\n\nb', undefined]]],
  [
    'one space is taken away, not two',
    'data:  a\n\ndata:b\n\n',
    [
      ['message', ' a', undefined],
      ['message', 'b', undefined],
    ],
  ],
  ['empty data is data', 'data\n\n', [['message', '', undefined]]],
  [
    'CRLF and CR end lines, too',
    'data: a\r\n\r\ndata: b\r\rdata: c\n\r\n',
    [
      ['message', 'a', undefined],
      ['message', 'b', undefined],
      ['message', 'c', undefined],
    ],
  ],
  ['a byte-order mark is passed over', '\uFEFFdata: a\n\n', [['message', 'a', undefined]]],
  ['comments', ': hb\n\ndata: a\n\n', ['comment', ['message', undefined, undefined], ['message', 'a', undefined]]],
  ['an id with NUL is none', 'data: a\nid: 1\0\n\n', [['message', 'a', undefined]]],
  ['an empty id is one', 'data: a\nid\n\n', [['message', 'a', '']]],
  ['a retry that is no number is none', 'retry: 1s\ndata: a\n\n', [['message', 'a', undefined]]],
  ['fields that nobody knows are passed over', 'date: a\ndata: b\nDATA: c\n\n', [['message', 'b', undefined]]],
  ['a block without its end is none', 'data: a\nid: 9\n', []],
  [
    'the name of a block does not outlive it',
    'event: a\n\ndata: b\n\n',
    [
      ['a', undefined, undefined],
      ['message', 'b', undefined],
    ],
  ],
  ['a colon in the value stays', 'data: {"a":1}\n\n', [['message', '{"a":1}', undefined]]],
  ['more than ASCII', 'data: äöü 🦀\nid: ñ\n\n', [['message', 'äöü 🦀', 'ñ']]],
];

for (const [name, text, blocks] of cases) {
  test(`parse: ${name}, wherever it is cut`, () => {
    assert.deepEqual(parsed(text), blocks);
    for (const size of [1, 2, 3, 5]) assert.deepEqual(parsed(text, size), blocks, `in pieces of ${size}`);
  });
}

test('parse: an event that never ends is not kept for ever', () => {
  const read = parser(
    () => {},
    () => {},
  );
  const chunk = new Uint8Array(1 << 20).fill(97);
  read(new TextEncoder().encode('data: '));
  assert.throws(() => {
    for (let n = 0; n < 20; n++) read(chunk);
  }, /too long/);
});

test('parse: a long line that arrives in many pieces is read in linear time', () => {
  const start = performance.now();
  parsed('data: ' + 'a'.repeat(8 << 20) + '\n\n', 4096);
  assert.ok(performance.now() - start < 2_000);
});
