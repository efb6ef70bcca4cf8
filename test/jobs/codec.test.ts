// Proves that requests and results come back as they were, and that damaged bytes are refused and never more than that.
import t from 'tap';
import { decodeRequest, decodeResult, encodeRequest, encodeResult } from '../../src/ts/jobs/index.js';
import { type Parts, type PipelineResult, type RdmaError, tensor } from '../../src/ts/pipeline/index.js';

const parts: Parts = {
  x: tensor('f32', [2, 3], Float32Array.of(1, 2, 3, Number.NaN, -0, Number.POSITIVE_INFINITY)),
  none: tensor('i64', [0, 5], new BigInt64Array(0)),
  scalar: tensor('bf16', [], Uint16Array.of(0x3f80)),
  __proto__x: tensor('bool', [1], Uint8Array.of(1)),
};

const result: PipelineResult = {
  request: 'gateway/0.1.7',
  outputs: [
    { stage: 'a', instance: 0, meta: { text: 'ä', deep: { list: [1, null, 'x'] } }, parts },
    { stage: 'b', instance: 63, meta: {}, parts: {} },
  ],
  trace: {
    tasks: [{ stage: 'a', instance: 0, queueUs: 1.5, computeUs: 2 }],
    hops: [{ from: 'request', fromInstance: 0, to: 'a', toInstance: 0, bytes: 10, us: undefined }],
  },
  expectedMs: 12.5,
  release: () => {},
};

/** With what a comparison sees, and no prototypes. */
const plain = ({ meta, parts }: { meta?: object; parts?: Parts }) => ({
  meta: meta ?? {},
  parts: Object.entries(parts ?? {}).map(([name, { dtype, shape, data }]) => [
    name,
    dtype,
    [...shape],
    data.constructor.name,
    [...data],
  ]),
});

void t.test('a request comes back as it was, in memory of its own', async (t) => {
  const { bytes, tensorBytes } = encodeRequest({ meta: { a: 1 }, parts });
  t.equal(tensorBytes, 24 + 0 + 2 + 1);
  t.same(plain(decodeRequest(bytes.slice())), plain({ meta: { a: 1 }, parts }));
  t.same(plain(decodeRequest(encodeRequest({}).bytes)), plain({}));
  const odd = new Uint8Array(bytes.length + 1);
  odd.set(bytes, 1);
  t.same(plain(decodeRequest(odd.subarray(1))), plain({ meta: { a: 1 }, parts }), 'wherever the bytes begin');
  const changed = tensor('u8', [1], Uint8Array.of(1));
  const before = encodeRequest({ parts: { changed } });
  changed.data[0] = 2;
  t.equal(decodeRequest(before.bytes).parts?.changed?.data[0], 1);
});

void t.test('a result comes back with its pieces', async (t) => {
  const pieces = [0, 1, 2].map((number) => ({ number, meta: { at: number }, parts: number === 1 ? {} : parts }));
  const outputs = [
    { stage: 'a', instance: 0, meta: {}, parts, pieces },
    { stage: 'a', instance: 1, meta: { none: true }, parts: {}, pieces: [] },
    { stage: 'b', instance: 0, meta: { whole: true }, parts },
  ];
  const encoded = encodeResult({ ...result, outputs });
  t.equal(encoded.tensorBytes, 4 * 27);
  const back = decodeResult(encoded.bytes).outputs;
  t.same(back.map(plain), outputs.map(plain));
  t.same(
    back.map((output) => output.pieces?.map((piece) => [piece.number, plain(piece)])),
    outputs.map((output) => output.pieces?.map((piece) => [piece.number, plain(piece)])),
  );
});

void t.test('a result comes back as it was', async (t) => {
  const back = decodeResult(encodeResult(result).bytes);
  t.equal(back.request, result.request);
  t.same(back.trace, result.trace);
  t.equal(back.expectedMs, 12.5);
  t.same(
    back.outputs.map((output) => [output.stage, output.instance, plain(output)]),
    result.outputs.map((output) => [output.stage, output.instance, plain(output)]),
  );
  t.doesNotThrow(() => back.release());
});

void t.test('what cannot be stored is refused before', async (t) => {
  t.throws(() => encodeRequest({ meta: { x: Number.NaN } }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  t.throws(() => encodeRequest({ parts: { x: 1 as never } }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  t.throws(() => encodeRequest(null as never), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
});

void t.test('bytes that are damaged in any one place are refused, or are another value', async (t) => {
  const codes = new Map<string, number>();
  const look = (bytes: Uint8Array) => {
    for (const decode of [decodeRequest, decodeResult]) {
      let code = 'ok';
      try {
        decode(bytes.slice());
      } catch (error) {
        code = (error as RdmaError).code ?? String(error);
      }
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
  };
  for (const { bytes } of [encodeRequest({ meta: { a: 1 }, parts }), encodeResult(result)]) {
    for (let i = 0; i < bytes.length; i++) {
      for (const value of [0, 0xff, bytes[i]! ^ 0x80, bytes[i]! ^ 1]) {
        const damaged = bytes.slice();
        damaged[i] = value;
        look(damaged);
      }
      look(bytes.slice(0, i));
    }
    look(new Uint8Array([...bytes, 0]));
  }
  t.same(
    [...codes.keys()].filter((code) => !['ok', 'RDMA_ERR_PROTOCOL', 'RDMA_ERR_VERSION'].includes(code)),
    [],
    JSON.stringify([...codes]),
  );
  t.ok(codes.get('RDMA_ERR_PROTOCOL')! > 1000);
  t.ok(codes.get('RDMA_ERR_VERSION')! > 0);
});
