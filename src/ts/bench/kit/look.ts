// What a look at the clock costs, which is more than a small message does.
//
// Invariant: measured where it is used, in the process that looks.
const LOOKS = 20_000;

let lookMs: number | undefined;

/** How long `performance.now()` takes in this process, in ms: the shorter of two averages over many calls. */
export function clockLookMs(): number {
  if (lookMs === undefined) {
    averageMs(); // compiled by now
    lookMs = Math.min(averageMs(), averageMs());
  }
  return lookMs;
}

function averageMs(): number {
  const begin = performance.now();
  for (let i = 0; i < LOOKS; i++) performance.now();
  return (performance.now() - begin) / LOOKS;
}
