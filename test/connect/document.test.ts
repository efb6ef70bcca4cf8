// Invariant under test: only JSON objects and arrays of bounded size pass, and a schema's complaint says where.

import fc from 'fast-check';
import t from 'tap';
import * as v from 'valibot';
import { decodeDocument, encodeDocument, parseDocument } from '../../src/ts/connect/document.js';
import { MAX_BODY_BYTES } from '../../src/ts/connect/frame.js';
import { isRdmaError } from '../../src/ts/core/errors.js';

void t.test('what JSON can carry comes back', async (t) => {
  fc.assert(
    fc.property(fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), fc.array(fc.jsonValue())), (document) => {
      const text = JSON.stringify(document);
      return JSON.stringify(decodeDocument(encodeDocument(document))) === JSON.stringify(JSON.parse(text));
    }),
  );
  t.pass('any document comes back');
});

void t.test('the largest document passes and the next does not', async (t) => {
  const fill = MAX_BODY_BYTES - '{"a":""}'.length;
  t.equal(encodeDocument({ a: 'x'.repeat(fill) }).byteLength, MAX_BODY_BYTES);
  t.throws(() => encodeDocument({ a: 'x'.repeat(fill + 1) }), { code: 'RDMA_ERR_MESSAGE_TOO_LARGE' });
  t.throws(
    () => encodeDocument({ a: 'ñ'.repeat(fill / 2 + 1) }),
    { code: 'RDMA_ERR_MESSAGE_TOO_LARGE' },
    'bytes count',
  );
});

void t.test('what JSON cannot carry is refused', async (t) => {
  const cyclic: { self?: unknown } = {};
  cyclic.self = cyclic;
  for (const bad of [
    cyclic,
    { n: 1n },
    null,
    'text',
    5,
    undefined,
    () => 1,
    { toJSON: () => undefined },
    new Date(0),
  ]) {
    t.throws(() => encodeDocument(bad as object), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  }
});

void t.test('arbitrary bytes give a document or RDMA_ERR_PROTOCOL', async (t) => {
  for (const bad of ['', '5', 'null', '"x"', '{', '\ufeff{}', '[1,]']) {
    t.throws(() => decodeDocument(Buffer.from(bad)), { code: 'RDMA_ERR_PROTOCOL' }, bad);
  }
  t.throws(() => decodeDocument(Buffer.of(0x7b, 0xff, 0x7d)), { code: 'RDMA_ERR_PROTOCOL' }, 'not UTF-8');
  const inText = Buffer.from('{"a":"?"}');
  inText[6] = 0xff;
  t.throws(() => decodeDocument(inText), { code: 'RDMA_ERR_PROTOCOL' }, 'not UTF-8 within a text');
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((text) => Buffer.from(text)),
      ),
      (bytes) => {
        try {
          return typeof decodeDocument(bytes) === 'object';
        } catch (error) {
          return isRdmaError(error) && error.code === 'RDMA_ERR_PROTOCOL';
        }
      },
    ),
  );
  const deep = Buffer.from('['.repeat(MAX_BODY_BYTES / 2) + ']'.repeat(MAX_BODY_BYTES / 2));
  t.ok(Array.isArray(decodeDocument(deep)), 'depth does not overflow the stack');
});

void t.test('__proto__ in a document changes no prototype and fails a strict schema', async (t) => {
  const document = decodeDocument(Buffer.from('{"__proto__":{"admin":true},"a":1}'));
  t.equal(Object.getPrototypeOf(document), Object.prototype);
  t.equal(({} as { admin?: boolean }).admin, undefined);
  const schema = v.strictObject({ a: v.number() });
  t.throws(() => parseDocument(schema, document, 'the offer'), { code: 'RDMA_ERR_PROTOCOL' });
});

void t.test('a schema gives its output, or says what is wrong where', async (t) => {
  const schema = v.strictObject({ lane: v.object({ slots: v.pipe(v.number(), v.integer()) }), name: v.string() });
  t.strictSame(parseDocument(schema, { lane: { slots: 4 }, name: 'x' }, 'the offer'), {
    lane: { slots: 4 },
    name: 'x',
  });
  t.throws(() => parseDocument(schema, { lane: { slots: 'x' }, name: 'x' }, 'the offer'), {
    code: 'RDMA_ERR_PROTOCOL',
    message: /the offer is wrong at lane\.slots: /,
  });
  t.throws(() => parseDocument(schema, null, 'the offer'), {
    code: 'RDMA_ERR_PROTOCOL',
    message: /the offer is wrong: /,
  });
  t.throws(() => parseDocument(schema, { lane: { slots: 1 }, name: 'x', more: 1 }, 'the offer'), {
    message: /at more/,
  });
  const long = { lane: { slots: 'y'.repeat(60000) }, name: 'x' };
  t.throws(
    () => parseDocument(schema, long, 'the offer'),
    { message: /^.{1,500}$/ },
    'what the peer sent is cut short',
  );
});
