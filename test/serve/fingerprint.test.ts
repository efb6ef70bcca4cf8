// Proves: requests that say the same have the same fingerprint, and every difference makes another one.
import t from 'tap';
import { fingerprintOf } from '../../src/ts/serve/fingerprint.js';
import { decodeBody } from '../../src/ts/serve/request-body.js';
import { tensor } from '../../src/ts/pipeline/index.js';

const bytes = (length: number, fill = 0) => tensor('u8', [length], new Uint8Array(length).fill(fill));

void t.test('the body that brings a request does not count', async (t) => {
  const form = (boundary: string) => {
    const type = `multipart/form-data; boundary=${boundary}`;
    const field = (name: string, content: string) =>
      `--${boundary}\r\nContent-Disposition: form-data; name="${name}"; filename="f"\r\n\r\n${content}\r\n`;
    return { type, text: `${field('a', 'x')}${field('b', 'yy')}--${boundary}--\r\n` };
  };
  const prints = ['one', 'two'].map((boundary) => {
    const { type, text } = form(boundary);
    return fingerprintOf(decodeBody(type, Buffer.from(text), {}));
  });
  const parts = { b: tensor('u8', [2], Buffer.from('yy')), a: tensor('u8', [1], Buffer.from('x')) };
  prints.push(fingerprintOf({ meta: {}, parts }));
  t.equal(new Set(await Promise.all(prints)).size, 1);
});

void t.test('every difference counts', async (t) => {
  const long = 3 * 2 ** 20;
  const last = bytes(long);
  (last.data as Uint8Array)[long - 1] = 1;
  const requests = [
    { meta: {}, parts: {} },
    { meta: { n: 1 }, parts: {} },
    { meta: { n: '1' }, parts: {} },
    { meta: {}, parts: { a: bytes(4) } },
    { meta: {}, parts: { b: bytes(4) } },
    { meta: {}, parts: { a: tensor('u8', [2, 2], new Uint8Array(4)) } },
    { meta: {}, parts: { a: tensor('f32', [1], new Float32Array(1)) } },
    { meta: {}, parts: { a: bytes(4, 1) } },
    { meta: {}, parts: { a: bytes(2), b: bytes(2) } },
    { meta: {}, parts: { a: bytes(long) } },
    { meta: {}, parts: { a: last } },
  ];
  const prints = await Promise.all(requests.map(fingerprintOf));
  t.equal(new Set(prints).size, requests.length);
  for (const print of prints) t.match(print, /^[\w-]{43}$/);
});
