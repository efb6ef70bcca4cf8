// Invariant under test: any bytes in any pieces give frames or one typed error, and never more memory than one frame.

import fc from 'fast-check';
import t from 'tap';
import {
  encodeHeader,
  encodePlainFrame,
  type Frame,
  FrameType,
  HEADER_BYTES,
  MAX_BODY_BYTES,
  MAX_HANDSHAKE_BODY_BYTES,
  TAG_BYTES,
} from '../../src/ts/connect/frame.js';
import { FrameParser } from '../../src/ts/connect/frame-parser.js';
import { isRdmaError } from '../../src/ts/core/errors.js';

interface Copy {
  type: number;
  body: string;
  tag: string | undefined;
  header: string;
}

function copy({ type, header, body, tag }: Frame): Copy {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  return { type, header: hex(header), body: hex(body), tag: tag === undefined ? undefined : hex(tag) };
}

/** Pushes a stream in the pieces that the cuts give; returns the frames and the first error's code. */
function parse(
  stream: Uint8Array,
  cuts: readonly number[],
  trusted = true,
): { frames: Copy[]; code: string | undefined } {
  const parser = new FrameParser();
  if (trusted) parser.trustPeer();
  const frames: Copy[] = [];
  const limit = HEADER_BYTES + TAG_BYTES + (trusted ? MAX_BODY_BYTES : MAX_HANDSHAKE_BODY_BYTES);
  const bounds = [...cuts.map((cut) => cut % (stream.byteLength + 1)), 0, stream.byteLength].sort((a, b) => a - b);
  for (let i = 1; i < bounds.length; i += 1) {
    try {
      parser.push(stream.subarray(bounds[i - 1], bounds[i]), (frame) => frames.push(copy(frame)));
    } catch (error) {
      if (!isRdmaError(error)) throw error;
      return { frames, code: error.code };
    }
    if (parser.bufferedBytes > limit) throw new Error('the parser holds too much');
  }
  return { frames, code: undefined };
}

const anyFrame = fc
  .record({
    type: fc.constantFrom(...Object.values(FrameType)),
    body: fc.uint8Array({ maxLength: 300 }),
    tag: fc.option(fc.uint8Array({ minLength: TAG_BYTES, maxLength: TAG_BYTES }), { nil: undefined }),
  })
  .map(({ type, body, tag }) =>
    Buffer.concat([encodeHeader(type, body.byteLength, tag !== undefined), body, tag ?? Buffer.alloc(0)]),
  );
const anyCuts = fc.array(fc.nat(100_000), { maxLength: 40 });

void t.test('any cutting of a valid stream gives the same frames', async (t) => {
  fc.assert(
    fc.property(fc.array(anyFrame, { maxLength: 8 }), anyCuts, (frames, cuts) => {
      const stream = Buffer.concat(frames);
      const whole = parse(stream, []);
      const cut = parse(stream, cuts);
      const each = parse(stream, [...stream.keys()]);
      t.ok(whole.frames.length === frames.length && whole.code === undefined);
      return JSON.stringify(whole) === JSON.stringify(cut) && JSON.stringify(whole) === JSON.stringify(each);
    }),
  );
});

void t.test('arbitrary bytes give nothing but the two typed errors, however they are cut', async (t) => {
  const damaged = fc
    .tuple(fc.array(anyFrame, { minLength: 1, maxLength: 4 }), fc.nat(2000), fc.integer({ min: 1, max: 255 }))
    .map(([frames, at, flip]) => {
      const stream = Buffer.concat(frames);
      const index = at % stream.byteLength;
      stream[index] = (stream[index] ?? 0) ^ flip;
      return stream;
    });
  fc.assert(
    fc.property(
      fc.oneof(fc.uint8Array({ maxLength: 2000 }), damaged),
      anyCuts,
      fc.boolean(),
      (stream, cuts, trusted) => {
        const whole = parse(stream, [], trusted);
        const cut = parse(stream, cuts, trusted);
        const allowed = [undefined, 'RDMA_ERR_PROTOCOL', 'RDMA_ERR_VERSION'];
        return (
          allowed.includes(whole.code) &&
          allowed.includes(cut.code) &&
          JSON.stringify(whole.frames) === JSON.stringify(cut.frames)
        );
      },
    ),
    { numRuns: 1000 },
  );
  t.pass('1000 streams: the same however they are cut');
});

void t.test('a header is judged before any of its body is held', async (t) => {
  const cases: [string, Buffer, string][] = [
    ['too large', encodeHeader(FrameType.MESSAGE, MAX_BODY_BYTES + 1, true), 'RDMA_ERR_PROTOCOL'],
    ['absurdly large', encodeHeader(FrameType.MESSAGE, 0xffffffff, true), 'RDMA_ERR_PROTOCOL'],
    ['unknown type', Buffer.from(encodeHeader(FrameType.HELLO, 0, false)).fill(99, 6, 7), 'RDMA_ERR_PROTOCOL'],
    ['type zero', Buffer.from(encodeHeader(FrameType.HELLO, 0, false)).fill(0, 6, 7), 'RDMA_ERR_PROTOCOL'],
    ['unknown flag', Buffer.from(encodeHeader(FrameType.HELLO, 0, false)).fill(2, 7, 8), 'RDMA_ERR_PROTOCOL'],
    ['another version', Buffer.from(encodeHeader(FrameType.HELLO, 0, false)).fill(9, 5, 6), 'RDMA_ERR_VERSION'],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'RDMA_ERR_PROTOCOL'],
    ['one wrong byte', Buffer.from('G'), 'RDMA_ERR_PROTOCOL'],
  ];
  for (const [name, bytes, code] of cases) t.match(parse(bytes, []), { frames: [], code }, name);
  const largest = encodeHeader(FrameType.MESSAGE, MAX_BODY_BYTES, true);
  t.equal(parse(largest, []).code, undefined, 'the largest body is allowed');
  t.equal(parse(largest, [], false).code, 'RDMA_ERR_PROTOCOL', 'but not from a stranger');
  const stranger = encodeHeader(FrameType.HELLO, MAX_HANDSHAKE_BODY_BYTES, false);
  t.equal(parse(stranger, [], false).code, undefined);
});

void t.test('after its first error a parser yields nothing ever again', async (t) => {
  const parser = new FrameParser();
  const good = encodePlainFrame(FrameType.HELLO, Buffer.alloc(3));
  t.throws(() => parser.push(Buffer.from('nonsense'), () => t.fail('no frame')), { code: 'RDMA_ERR_PROTOCOL' });
  t.throws(() => parser.push(good, () => t.fail('no frame')), { code: 'RDMA_ERR_PROTOCOL' });
  const other = new FrameParser();
  const thrown = new Error('from the callback');
  let seen = 0;
  const callback = (): void => {
    seen += 1;
    throw thrown;
  };
  t.throws(() => other.push(Buffer.concat([good, good]), callback), thrown);
  t.throws(() => other.push(good, callback), { code: 'RDMA_ERR_PROTOCOL' });
  t.equal(seen, 1);
});
