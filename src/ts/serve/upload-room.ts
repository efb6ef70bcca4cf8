// How many bytes of bodies may be in memory at a time.
//
// Invariant: room that was taken is given back exactly once, whatever way its request ends; a body whose length is not
// known counts as the largest.

/** Room for the bodies of requests. */
export class UploadRoom {
  private taken = 0;

  /** @param limit bytes */
  constructor(private readonly limit: number) {}

  /** Bytes that are taken. */
  get bytes(): number {
    return this.taken;
  }

  /**
   * Takes room for a body. One may always be there, however large.
   *
   * @returns gives it back, the first time that it is called; undefined: there is no room now
   */
  take(bytes: number): (() => void) | undefined {
    if (this.taken > 0 && this.taken + bytes > this.limit) return undefined;
    this.taken += bytes;
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      this.taken -= bytes;
    };
  }
}
