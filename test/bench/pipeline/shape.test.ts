// Proves: whatever the shape and the size, the places together bring every byte of a request to its result.
import fc from 'fast-check';
import t from 'tap';
import {
  gather,
  HOPS,
  lastOf,
  outputBytes,
  outputsOf,
  places,
  requestBytesOf,
  type Shape,
  shapes,
  SOURCE,
} from '../../../src/ts/bench/pipeline/shape.js';

function pass(shape: Shape, request: Uint8Array): Uint8Array {
  const made = new Map([[SOURCE, request]]);
  for (const place of places[shape]) {
    const inputs = place.takes.map(({ from }) => made.get(from)!);
    const output = new Uint8Array(outputBytes(place, request.length)).fill(0xee);
    gather(shape, place, request.length, inputs, output);
    made.set(place.name, output);
  }
  return made.get(lastOf(shape).name)!;
}

for (const shape of shapes) {
  void t.test(`${shape}: a result has the bytes of its request, in their places`, async (t) => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 64, maxLength: 400 }), (request) => {
        return Buffer.compare(pass(shape, request), request) === 0;
      }),
    );
    t.pass('for sizes that are no multiple of anything, too');
  });

  void t.test(`${shape}: every path from the source and back has the same number of hops`, async (t) => {
    const paths = (name: string, hops: number): number[] =>
      outputsOf(shape, name).flatMap((to) => (to === SOURCE ? [hops + 1] : paths(to, hops + 1)));
    t.strictSame([...new Set(paths(SOURCE, 0))], [HOPS]);
  });

  void t.test(`${shape}: who takes from whom is the same seen from both ends`, async (t) => {
    for (const { name, takes } of places[shape]) {
      for (const { from } of takes) t.ok(outputsOf(shape, from).includes(name), `${from} to ${name}`);
    }
  });

  void t.test(`${shape}: every place knows from its inputs how large the request was`, async (t) => {
    const size = 1003;
    for (const place of places[shape]) {
      const sender = (from: string) => places[shape].find(({ name }) => name === from);
      const inputs = place.takes.map(({ from }) => {
        const before = sender(from);
        return new Uint8Array(before === undefined ? size : outputBytes(before, size));
      });
      t.equal(requestBytesOf(shape, place, inputs), size, place.name);
    }
  });
}
