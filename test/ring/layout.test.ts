// Proves that descriptors and control blocks survive the trip through memory, that one wrong bit anywhere is noticed,
// and that documents of a peer are bounded.
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import * as v from 'valibot';
import { Answer, MAX_DATA_BYTES, MAX_SLOTS, Offer, Refusal, Reply } from '../../src/ts/ring/negotiation-messages.js';
import {
  countOfImm,
  DESCRIPTOR_WORDS,
  DescriptorFlags,
  decodeControl,
  decodeDescriptor,
  emptyDescriptor,
  encodeControl,
  encodeDescriptor,
  laneImm,
  laneOfImm,
  MAX_BATCH,
  MAX_LANE_ID,
} from '../../src/ts/ring/layout.js';

const u32 = fc.nat(0xffffffff);
const sequence = fc.maxSafeNat();
const blank = () => ({ ...emptyDescriptor(), kind: 0 });
const anyDescriptor = fc.record({
  kind: fc.nat(0xffff),
  flags: fc.nat(0xffff).map((flags) => flags & ~DescriptorFlags.INLINE),
  sequence,
  offset: u32,
  space: u32,
  length: sequence,
  address: sequence,
  rkey: u32,
  payloadCrc: u32,
});

void t.test('a descriptor is read as it was written, at any slot, and only with its epoch', async (t) => {
  fc.assert(
    fc.property(u32, anyDescriptor, fc.nat(6), fc.nat(40), (epoch, descriptor, slot, base) => {
      const words = new Uint32Array(base + 7 * 16);
      const at = base + slot * DESCRIPTOR_WORDS;
      encodeDescriptor(words, at, epoch, descriptor);
      const read = blank();
      const good = decodeDescriptor(words, at, epoch, 0, read);
      const other = decodeDescriptor(words, at, (epoch + 1) >>> 0, 0, blank());
      return good && !other && isDeepStrictEqual(read, { ...descriptor });
    }),
  );
  t.pass('any descriptor is read as it was written');
});

/** Bits of a descriptor or control block, its checksum included. */
const BITS = 13 * 32;

void t.test('any one wrong bit of a descriptor or control block is noticed, and leaves the last answer', async (t) => {
  const descriptor = new Uint32Array(16);
  encodeDescriptor(descriptor, 0, 7, { ...blank(), sequence: 2 ** 40 + 5, offset: 4096, length: 1234 });
  const control = new Uint32Array(16);
  encodeControl(control, 0, 7, 1, 2 ** 33 + 1, 2 ** 33);
  let noticed = 0;
  for (let bit = 0; bit < BITS; bit++) {
    for (const words of [descriptor, control]) words[bit >> 5]! ^= 1 << (bit & 31);
    const read = blank();
    const state = { state: 9, released: 9, acknowledged: 9 };
    if (!decodeDescriptor(descriptor, 0, 7, 0, read) && read.sequence === 0) noticed++;
    if (!decodeControl(control, 0, 7, state) && state.released === 9) noticed++;
    for (const words of [descriptor, control]) words[bit >> 5]! ^= 1 << (bit & 31);
  }
  t.equal(noticed, 2 * BITS);
  t.ok(decodeDescriptor(descriptor, 0, 7, 0, blank()), 'and the right one is good');
});

const INLINE_BYTES = 192;

void t.test(
  'a message behind its descriptor: each wrong bit of either is noticed, and what lies behind both is not',
  async (t) => {
    const words = new Uint32Array(DESCRIPTOR_WORDS + INLINE_BYTES / 4);
    for (const length of [1, 4, 63, 64, 65, INLINE_BYTES]) {
      const descriptor = { ...blank(), kind: 1, sequence: 5, flags: DescriptorFlags.INLINE, length };
      words.fill(0);
      new Uint8Array(words.buffer, DESCRIPTOR_WORDS * 4, length).fill(0xa5);
      encodeDescriptor(words, 0, 7, descriptor);
      const read = blank();
      t.ok(decodeDescriptor(words, 0, 7, INLINE_BYTES, read));
      t.strictSame(read, descriptor);
      t.notOk(decodeDescriptor(words, 0, 7, length - 1, blank()), 'it is longer than there is room');
      const inlineBits = Math.ceil(length / 4) * 32;
      let noticed = 0;
      for (const [from, bits] of [[0, BITS] as const, [DESCRIPTOR_WORDS * 32, inlineBits] as const]) {
        for (let bit = from; bit < from + bits; bit++) {
          words[bit >> 5]! ^= 1 << (bit & 31);
          if (!decodeDescriptor(words, 0, 7, INLINE_BYTES, blank())) noticed++;
          words[bit >> 5]! ^= 1 << (bit & 31);
        }
      }
      t.equal(noticed, BITS + inlineBits, `${length} bytes`);
      words.fill(0x77, DESCRIPTOR_WORDS + Math.ceil(length / 4));
      t.ok(decodeDescriptor(words, 0, 7, INLINE_BYTES, blank()));
    }
  },
);

void t.test('any part of a new message over an old one is noticed, whichever words are there', async (t) => {
  const slot = (sequence: number, message: Uint32Array) => {
    const words = new Uint32Array(DESCRIPTOR_WORDS + message.length);
    words.set(message, DESCRIPTOR_WORDS);
    const length = message.length * 4;
    encodeDescriptor(words, 0, 7, { ...blank(), kind: 1, sequence, flags: DescriptorFlags.INLINE, length });
    return words;
  };
  const message = fc.uint32Array({ minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(message, message, fc.array(fc.boolean(), { minLength: 32, maxLength: 32 }), (a, b, isNew) => {
      const before = slot(1, a);
      const after = slot(9, b);
      const torn = before.map((word, i) => (isNew[i]! ? after[i]! : word));
      const same = (other: Uint32Array) => torn.every((word, i) => word === other[i]);
      return same(before) || same(after) || !decodeDescriptor(torn, 0, 7, 64, blank());
    }),
    { numRuns: 5000 },
  );
  t.pass('5000 mixtures');
});

void t.test('a control block is read as it was written; half of one and half of another is not', async (t) => {
  fc.assert(
    fc.property(u32, sequence, sequence, sequence, fc.integer({ min: 1, max: 12 }), (epoch, a, b, c, cut) => {
      const words = new Uint32Array(32);
      encodeControl(words, 16, epoch, 1, a, b);
      const read = { state: 0, released: 0, acknowledged: 0 };
      if (!decodeControl(words, 16, epoch, read) || read.released !== a || read.acknowledged !== b) return false;
      const newer = new Uint32Array(16);
      encodeControl(newer, 0, epoch, 1, c, a);
      const before = words.slice(16);
      const torn = Uint32Array.from([...newer.subarray(0, cut), ...before.subarray(cut)]);
      const same = (other: Uint32Array) => torn.every((word, i) => word === other[i]);
      return same(newer) || same(before) || !decodeControl(torn, 0, epoch, read);
    }),
  );
  t.pass('any control block, whole or torn');
});

void t.test('the immediate carries every lane and every count', async (t) => {
  fc.assert(
    fc.property(fc.nat(MAX_LANE_ID), fc.integer({ min: 1, max: MAX_BATCH }), (lane, count) => {
      const imm = laneImm(lane, count);
      return imm >= 0 && imm < 2 ** 32 && laneOfImm(imm) === lane && countOfImm(imm) === count;
    }),
  );
  t.pass('every lane and every count');
});

const endpoint = { qpNum: 1, psn: 2, gid: '0'.repeat(32), lid: 0, mtu: 3 };
const answer = {
  type: 'answer',
  inbox: 'a'.repeat(32),
  lane: 0,
  epoch: 1,
  slots: 8,
  dataBytes: 4096,
  inlineBytes: 64,
  memory: { address: 4096, rkey: 1 },
  inPlace: true,
  polled: true,
  maxPullBytes: 0,
  delivered: 0,
  acknowledged: 0,
  endpoint,
};
const offer = {
  type: 'offer',
  protocol: 5,
  transport: 'soft',
  producer: 'b'.repeat(32),
  inbox: '',
  name: 'x',
  slots: 8,
  dataBytes: 4096,
  inlineBytes: 960,
  retainMessages: 8,
  acknowledged: 0,
  inPlace: true,
  control: { address: 4096, rkey: 1 },
  endpoint,
};

void t.test('documents: what is right passes, and every number out of its bounds is refused', async (t) => {
  t.ok(v.is(Offer, offer));
  t.ok(v.is(Answer, answer));
  t.ok(v.is(Reply, { type: 'error', code: 'X', message: 'y' }));
  const wrongOffers: object[] = [
    { slots: 0 },
    { slots: MAX_SLOTS + 1 },
    { slots: 1.5 },
    { slots: '8' },
    { dataBytes: 63 },
    { dataBytes: MAX_DATA_BYTES + 1 },
    { dataBytes: Number.NaN },
    { retainMessages: 0 },
    { retainMessages: 65537 },
    { acknowledged: -1 },
    { acknowledged: 2 ** 53 },
    { protocol: 1 },
    { protocol: 4 },
    { protocol: 6 },
    { inlineBytes: 63 },
    { inlineBytes: 1024 },
    { inPlace: 1 },
    { producer: 'B'.repeat(32) },
    { producer: 'b'.repeat(31) },
    { inbox: 'b'.repeat(31) },
    { name: 'n'.repeat(129) },
    { endpoint: { ...endpoint, gid: 'zz' } },
    { endpoint: { ...endpoint, qpNum: 2 ** 24 } },
    { endpoint: { ...endpoint, mtu: 0 } },
    { control: { address: -1, rkey: 1 } },
    { extra: 1 },
  ];
  for (const wrong of wrongOffers) t.notOk(v.is(Offer, { ...offer, ...wrong }), JSON.stringify(wrong));
  const wrongAnswers = [
    { lane: 2 ** 20 },
    { dataBytes: 100 },
    { slots: 0 },
    { delivered: -1 },
    { memory: { address: 1 } },
    { maxPullBytes: 2 ** 32 },
    { inlineBytes: 32 },
    { inlineBytes: 1024 },
    { inPlace: undefined },
    { polled: undefined },
  ];
  for (const wrong of wrongAnswers) t.notOk(v.is(Answer, { ...answer, ...wrong }), JSON.stringify(wrong));
  t.notOk(v.is(Refusal, { type: 'error', code: 'x', message: 'm'.repeat(1025) }));
  fc.assert(fc.property(fc.anything(), (nonsense) => !v.is(Offer, nonsense) && !v.is(Reply, nonsense)));
});
