// The graphs of the pipeline benchmark: which places there are, and which bytes each takes from whom.
//
// Invariant: every byte of a result has passed every hop of one path from the source to the last place, and the places
// of one input set take each byte exactly once. Our own workflow and the peers in Node.js use this table; the peers in
// C and Python hold the same one.
//
//   chain     source > one > two > three > source
//   diamond   source > a > b, c > d > source          b and c get everything; d takes a half from each
//   shard     source > head > work x 4 > tail > source   each shard gets everything and answers its quarter

export const shapes = ['chain', 'diamond', 'shard'] as const;
export type Shape = (typeof shapes)[number];

/** The name of the side that makes the requests and takes the results. */
export const SOURCE = 'source';
/** Messages one after the other from the source until the result: the same for every shape. */
export const HOPS = 4;
export const SHARDS = 4;
const PARTS = 4;

/** A range of a request's bytes, in quarters of it. */
type Quarters = readonly [begin: number, end: number];
const ALL: Quarters = [0, PARTS];

export interface Take {
  from: string;
  /** What the place copies from that input. */
  quarters: Quarters;
}

export interface Place {
  name: string;
  takes: readonly Take[];
  /** What its output holds. */
  quarters: Quarters;
}

const one = (name: string, from: string, quarters = ALL): Place => ({ name, takes: [{ from, quarters }], quarters });
const shard = (index: number) => `work-${index}`;
const eachShard = Array.from({ length: SHARDS }, (_, index) => index);

/** The places of each shape, each behind those that it takes from; the last one answers the source. */
export const places: Record<Shape, readonly Place[]> = {
  chain: [one('one', SOURCE), one('two', 'one'), one('three', 'two')],
  diamond: [
    one('a', SOURCE),
    one('b', 'a'),
    one('c', 'a'),
    {
      name: 'd',
      takes: [
        { from: 'b', quarters: [0, 2] },
        { from: 'c', quarters: [2, 4] },
      ],
      quarters: ALL,
    },
  ],
  shard: [
    one('head', SOURCE),
    ...eachShard.map((index) => one(shard(index), 'head', [index, index + 1])),
    {
      name: 'tail',
      takes: eachShard.map((index) => ({ from: shard(index), quarters: [index, index + 1] as const })),
      quarters: ALL,
    },
  ],
};

/** @throws Error for a name that is none of the shape's */
export function placeOf(shape: Shape, name: string): Place {
  const place = places[shape].find((one) => one.name === name);
  if (place === undefined) throw new Error(`no place ${name} in ${shape}`);
  return place;
}

/** The names of those that a place sends to; of the source: the first place. */
export function outputsOf(shape: Shape, name: string): string[] {
  const followers = places[shape].filter(({ takes }) => takes.some(({ from }) => from === name));
  return followers.length === 0 ? [SOURCE] : followers.map((place) => place.name);
}

/** The place whose output is the result. */
export function lastOf(shape: Shape): Place {
  return places[shape].at(-1)!;
}

const offset = (quarter: number, sizeBytes: number) => Math.floor((sizeBytes * quarter) / PARTS);

/** How many bytes a place sends for a request of `sizeBytes`. */
export function outputBytes({ quarters }: Place, sizeBytes: number): number {
  return offset(quarters[1], sizeBytes) - offset(quarters[0], sizeBytes);
}

/** How large the request was of which a place has these inputs. */
export function requestBytesOf(shape: Shape, { takes }: Place, inputs: readonly Uint8Array[]): number {
  const [first] = takes;
  const whole = first!.from === SOURCE || placeOf(shape, first!.from).quarters === ALL;
  return whole ? inputs[0]!.length : inputs.reduce((sum, input) => sum + input.length, 0);
}

/**
 * What a place does: copies from each of its inputs once.
 *
 * @param inputs in the order of `place.takes`: each holds what its sender's output holds
 * @param output outputBytes() long
 */
export function gather(
  shape: Shape,
  place: Place,
  sizeBytes: number,
  inputs: readonly Uint8Array[],
  output: Uint8Array,
): void {
  const base = offset(place.quarters[0], sizeBytes);
  for (let i = 0; i < inputs.length; i++) {
    const { from, quarters } = place.takes[i]!;
    const begin = offset(quarters[0], sizeBytes);
    const end = offset(quarters[1], sizeBytes);
    const held = from === SOURCE ? 0 : offset(placeOf(shape, from).quarters[0], sizeBytes);
    const input = inputs[i]!;
    const wanted = end - begin === input.length ? input : input.subarray(begin - held, end - held);
    output.set(wanted, begin - base);
  }
}
