// Proves that messages have positions in a ring that overlap no held message, and that a number finds its slot.
import fc from 'fast-check';
import t from 'tap';
import { alignedLength, MESSAGE_ALIGN_BYTES } from '../../src/ts/ring/layout.js';
import { Positions, slotOf } from '../../src/ts/ring/positions.js';

void t.test(
  'messages lie contiguous, aligned and apart from all that is held, and any that the ring can hold comes',
  async (t) => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 64 }),
        fc.array(fc.tuple(fc.nat(1000), fc.boolean()), { minLength: 1, maxLength: 200 }),
        (units, steps) => {
          const ring = units * MESSAGE_ALIGN_BYTES;
          const slots = 300;
          const positions = new Positions(slots, ring);
          const held: { slot: number; start: number; end: number; offset: number }[] = [];
          let slot = 0;
          for (const [per, release] of steps) {
            if (release) held.shift();
            const length = Math.round((per / 1000) * ring);
            const first = held[0]?.slot ?? -1;
            const { tail } = positions;
            const offset = positions.nextOffset(length);
            // From the definition: where the last one ended, unless the end of the ring is too near.
            const inRing = tail % ring;
            const fitsThere = inRing + alignedLength(length) <= ring;
            const start = fitsThere ? tail : tail - inRing + ring;
            const end = start + alignedLength(length);
            if (offset !== start % ring || offset % MESSAGE_ALIGN_BYTES !== 0) return false;
            const fits = end - (held[0]?.start ?? start) <= ring;
            if (positions.fits(length, first) !== fits) return false;
            if (positions.takenFrom(first) !== (held.length === 0 ? 0 : tail - held[0]!.start)) return false;
            if (!fits) {
              if (held.length === 0) return false; // with nothing held, everything fits
              continue;
            }
            slot = (slot + 1) % slots;
            positions.put(slot, length);
            if (positions.tail !== end || positions.startOf(slot) !== start || positions.offsetOf(slot) !== offset)
              return false;
            for (const other of held) {
              const [n, m] = [end - start, other.end - other.start];
              if (n > 0 && m > 0 && offset < other.offset + m && other.offset < offset + n) return false;
            }
            held.push({ slot, start, end, offset });
          }
          return true;
        },
      ),
      { numRuns: 500 },
    );
    t.pass('500 histories agree with the definition');
  },
);

void t.test('the slot of a number is its remainder, up to 2^53', async (t) => {
  const edges = [0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 31 + 1, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1];
  const number = fc.oneof(fc.maxSafeNat(), fc.constantFrom(...edges));
  fc.assert(
    fc.property(number, fc.oneof(fc.integer({ min: 1, max: 65536 }), fc.constantFrom(1, 2, 4095)), (n, count) => {
      return slotOf(n, count) === Number(BigInt(n) % BigInt(count));
    }),
    { numRuns: 3000 },
  );
  t.pass('3000 numbers agree with BigInt');
});
