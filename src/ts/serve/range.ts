// The Range of a request (RFC 9110, section 14), for one range of bytes.
//
// Invariant: what is answered lies inside the representation. A header that is not understood is as if it were not
// there.

/** Bytes `begin` to `end`, which is not in it; `unsatisfiable`: there are none of those. */
export type ByteRange = { begin: number; end: number } | 'unsatisfiable' | undefined;

/**
 * Reads a Range header.
 *
 * @param header its value; undefined: there is none
 * @param bytes the length of the whole
 * @returns undefined: answer the whole. That is also the answer to several ranges, as the standard allows
 */
export function parseRange(header: string | undefined, bytes: number): ByteRange {
  const match = header === undefined ? null : /^bytes=(\d{0,16})-(\d{0,16})$/i.exec(header.trim());
  if (match === null) return undefined;
  const [first, last] = [match[1]!, match[2]!];
  if (first === '') {
    if (last === '') return undefined;
    const suffix = Math.min(Number(last), bytes);
    return suffix === 0 ? 'unsatisfiable' : { begin: bytes - suffix, end: bytes };
  }
  const begin = Number(first);
  if (last !== '' && Number(last) < begin) return undefined;
  if (begin >= bytes) return 'unsatisfiable';
  return { begin, end: last === '' ? bytes : Math.min(Number(last) + 1, bytes) };
}
