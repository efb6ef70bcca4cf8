// NumPy's .npy format, versions 1.0 to 3.0 (numpy.org, "numpy.lib.format").
//
//   0         6     7     8            10 or 12
//   \x93NUMPY |major|minor|header bytes|{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } spaces \n|data
//                          u16, from version 2 on u32                                                        at a multiple of 64
//
// Invariant: a file is a whole tensor or it is refused; nothing in its header is ever evaluated.
import type { Dtype, Tensor } from '../pipeline/index.js';
import { elementBytes } from '../pipeline/index.js';
import { bytesOf } from '../pipeline/tensor.js';
import { RdmaError } from '../core/errors.js';
import { badBody, tensorOver } from './tensor-bytes.js';

/** The media type that NumPy arrays are sent with; it is not registered. */
export const NPY_TYPE = 'application/x-npy';

const MAGIC = Buffer.from('\x93NUMPY', 'latin1');
/** The longest header that is read; NumPy itself refuses more than 10 000. */
const MAX_HEADER_BYTES = 10_000;
const ALIGN_BYTES = 64;

const DESCRS: Partial<Record<Dtype, string>> = {
  u8: '|u1',
  i8: '|i1',
  u16: '<u2',
  i16: '<i2',
  u32: '<u4',
  i32: '<i4',
  u64: '<u8',
  i64: '<i8',
  f16: '<f2',
  f32: '<f4',
  f64: '<f8',
  bool: '|b1',
};
const DTYPES_BY_KIND = new Map(
  Object.entries(DESCRS).map(([dtype, descr]) => [descr.slice(1), dtype as Dtype] as const),
);

const SPACE = '[ \\t\\n]*';
/** A dictionary literal with the three keys, in any order, and nothing else. */
const HEADER = new RegExp(`^\\{${SPACE}(?<items>[^{}]*?)${SPACE},?${SPACE}\\}${SPACE}$`);
const ITEM = new RegExp(
  `^'(?<key>descr|fortran_order|shape)'${SPACE}:${SPACE}(?:'(?<text>[^'\\\\]{1,16})'|(?<bool>True|False)|\\((?<shape>[\\d, ]*)\\))${SPACE}(?:,${SPACE}|$)`,
);

/**
 * Reads an array.
 *
 * @param bytes the whole file
 * @param what names it in errors
 * @returns a tensor over these bytes; those of a big-endian array, and those that lie unaligned, are copied
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for what is no such file, or has objects, text or complex numbers, or is
 *   in Fortran's order
 */
export function decodeNpy(bytes: Uint8Array, what = 'the array'): Tensor {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (file.length < 10 || !file.subarray(0, 6).equals(MAGIC)) throw badBody(`${what} is no .npy file`);
  const [major, minor] = [file[6]!, file[7]!];
  if (major < 1 || major > 3 || minor !== 0)
    throw badBody(`${what} has version ${major}.${minor} of .npy; known are 1 to 3`);
  const begin = major === 1 ? 10 : 12;
  if (file.length < begin) throw badBody(`${what} is cut short`);
  const headerBytes = major === 1 ? file.readUInt16LE(8) : file.readUInt32LE(8);
  if (headerBytes > MAX_HEADER_BYTES)
    throw badBody(`the header of ${what} has ${headerBytes} bytes; at most ${MAX_HEADER_BYTES}`);
  const end = begin + headerBytes;
  if (file.length < end) throw badBody(`${what} is cut short`);
  const { descr, shape } = parseHeader(file.toString('latin1', begin, end), what);
  const dtype = DTYPES_BY_KIND.get(descr.slice(1));
  if (dtype === undefined || !'<>|='.includes(descr[0]!)) {
    throw badBody(
      `${what} has elements ${descr}, which tensors have not`,
      'convert it with astype(), for example to float32',
    );
  }
  const data = file.subarray(end);
  if (descr[0] !== '>') return tensorOver(what, dtype, shape, data);
  return tensorOver(what, dtype, shape, swapped(data, elementBytes(dtype)));
}

function parseHeader(text: string, what: string): { descr: string; shape: number[] } {
  const bad = () => badBody(`the header of ${what} is not that of a .npy file`);
  let rest = HEADER.exec(text)?.groups?.items;
  if (rest === undefined) throw bad();
  const found = new Map<string, string>();
  while (rest !== '') {
    const match: RegExpExecArray | null = ITEM.exec(rest);
    if (match === null) throw bad();
    const { key, text: string, bool, shape } = match.groups!;
    const value = { descr: string, fortran_order: bool, shape }[key as 'descr'];
    if (value === undefined || found.has(key!)) throw bad();
    found.set(key!, value);
    rest = rest.slice(match[0].length);
  }
  const [descr, order, list] = [found.get('descr'), found.get('fortran_order'), found.get('shape')];
  if (descr === undefined || order === undefined || list === undefined) throw bad();
  const shape = shapeOf(list);
  if (shape === undefined) throw bad();
  if (order === 'True' && shape.length > 1) {
    throw badBody(`${what} is in Fortran's order`, 'save numpy.ascontiguousarray(x)');
  }
  return { descr, shape };
}

// The inside of a tuple of Python: `` `5,` `5, 6`.
function shapeOf(list: string): number[] | undefined {
  if (list.trim() === '') return [];
  if (!/^ *\d{1,16}( *, *\d{1,16})* *,? *$/.test(list) || !list.includes(',')) return undefined;
  return list
    .split(',')
    .filter((item) => item.trim() !== '')
    .map(Number);
}

function swapped(data: Buffer, size: number): Buffer {
  const copy = Buffer.from(data);
  if (size === 1 || copy.length % size !== 0) return copy;
  if (size === 2) return copy.swap16();
  return size === 4 ? copy.swap32() : copy.swap64();
}

/**
 * Writes an array.
 *
 * @returns the file: its head, and a view of the tensor's bytes
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED for bf16 and the 8-bit floats, which NumPy has not
 */
export function encodeNpy(source: Tensor): [head: Buffer, data: Uint8Array] {
  const descr = DESCRS[source.dtype];
  if (descr === undefined) {
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', `NumPy has no ${source.dtype}`, {
      remedy: 'ask for application/octet-stream or for safetensors',
    });
  }
  const shape = source.shape.length === 1 ? `${source.shape[0]},` : source.shape.join(', ');
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape}), }`;
  const padded = Math.ceil((10 + text.length + 1) / ALIGN_BYTES) * ALIGN_BYTES - 10;
  const head = Buffer.alloc(10 + padded, ' ');
  MAGIC.copy(head);
  head[6] = 1;
  head[7] = 0;
  head.writeUInt16LE(padded, 8);
  head.write(text, 10, 'latin1');
  head[head.length - 1] = 0x0a;
  return [head, bytesOf(source)];
}
