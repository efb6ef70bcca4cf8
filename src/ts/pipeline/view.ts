// The bytes of an array as numbers.
//
// Invariant: nothing is copied.

/** A view of the same memory, as long as the array. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
