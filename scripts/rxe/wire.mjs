// The cable between the network cards of two guests.
// Invariant: it hands over whole frames only, in order, so a guest that loses its power within one disturbs nobody;
// what comes for a guest that is not there is dropped, as a cable does.

/** The emulator puts this many bytes before each frame: its length. */
const LENGTH_BYTES = 4;
/** What may wait for a guest that does not read; more is dropped, as a full card does. */
const WAITING_BYTES = 8 * 1024 * 1024;

export class Wire {
  #ends = new Map();
  #frames = 0;

  /** How many frames went from one guest to the other. */
  get frames() {
    return this.#frames;
  }

  /**
   * Plugs a guest in, in place of the one that had this end.
   * @param {0 | 1} end @param {import('node:stream').Duplex} socket of its card
   */
  plug(end, socket) {
    this.#ends.set(end, socket);
    let rest = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('close', () => {
      if (this.#ends.get(end) === socket) this.#ends.delete(end);
    });
    socket.on('data', (chunk) => {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      let whole = 0;
      while (bytes.length - whole >= LENGTH_BYTES) {
        const next = whole + LENGTH_BYTES + bytes.readUInt32BE(whole);
        if (next > bytes.length) break;
        whole = next;
        this.#frames += 1;
      }
      if (whole > 0) this.#carry(1 - end, bytes.subarray(0, whole));
      rest = bytes.subarray(whole);
    });
  }

  #carry(end, frames) {
    const socket = this.#ends.get(end);
    if (socket?.writable && socket.writableLength < WAITING_BYTES) socket.write(frames);
  }
}
