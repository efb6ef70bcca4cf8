// One output of the command on its way from the guest to the runner's own stream.
// Invariant: every byte before the marker is passed on unchanged and in order, no byte of the marker is, and a slow
// reader slows the guest down instead of filling memory.

/**
 * @param {import('node:stream').Readable} source
 * @param {import('node:stream').Writable} target
 * @param {string} marker
 * @returns {{ complete: Promise<void>, broken: Promise<void> }} `complete`: the marker came and all before it is
 *   handed over; `broken`: the reader went away
 */
export function createMarkedStream(source, target, marker) {
  const end = Buffer.from(marker);
  let held = Buffer.alloc(0);
  let finish;
  let breakOff;
  const complete = new Promise((resolve) => {
    finish = resolve;
  });
  const broken = new Promise((resolve) => {
    breakOff = resolve;
  });

  const pass = (bytes, done) => {
    if (bytes.length === 0 || !target.writable) return done?.();
    const roomLeft = target.write(bytes, done);
    if (roomLeft) return undefined;
    source.pause();
    target.once('drain', () => source.resume());
    return undefined;
  };

  target.on('error', () => {
    breakOff();
    source.resume();
  });
  source.on('error', () => {});
  source.on('data', (chunk) => {
    const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    const position = bytes.indexOf(end);
    if (position !== -1) {
      held = Buffer.alloc(0);
      pass(bytes.subarray(0, position), () => finish());
      return;
    }
    const keep = partialMatch(bytes, end);
    held = bytes.subarray(bytes.length - keep);
    pass(bytes.subarray(0, bytes.length - keep));
  });
  return { complete, broken };
}

/** How many of the last bytes could be the beginning of the marker. */
function partialMatch(bytes, end) {
  const longest = Math.min(bytes.length, end.length - 1);
  for (let length = longest; length > 0; length -= 1) {
    if (bytes.subarray(bytes.length - length).equals(end.subarray(0, length))) return length;
  }
  return 0;
}
