// Grey pictures as PGM (Netpbm, pgm(5)), the binary kind with one byte for each pixel: a header, then the rows.

/** A picture; `pixels` holds its rows one after the other. */
export interface Grey {
  readonly rows: number;
  readonly columns: number;
  readonly pixels: Uint8Array;
}

/**
 * Reads a picture.
 *
 * @returns a view of `file`
 * @throws RangeError for what is no such picture
 */
export function readPgm(file: Uint8Array): Grey {
  const header = /^P5\s+(\d+)\s+(\d+)\s+255\s/.exec(Buffer.from(file.subarray(0, 64)).toString('latin1'));
  if (header === null) throw new RangeError('the body must be a binary PGM (P5) with a maximum of 255');
  const [whole, columns, rows] = [header[0], Number(header[1]), Number(header[2])];
  const pixels = file.subarray(whole.length);
  if (pixels.length !== rows * columns) throw new RangeError(`${rows} x ${columns} pixels, but ${pixels.length} bytes`);
  return { rows, columns, pixels };
}

/** Writes a picture whose rows are in `parts`, in order. */
export function writePgm(columns: number, parts: readonly Uint8Array[]): Buffer {
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Buffer.from(`P5\n${columns} ${bytes / columns}\n255\n`), ...parts]);
}
