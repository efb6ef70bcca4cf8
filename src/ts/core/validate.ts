// Invariant: a check either returns the value it was given, typed, or throws RDMA_ERR_INVALID_ARGUMENT naming the
// argument, what was given and what is expected; a check never changes or copies what it is given.

import { inspect, types } from 'node:util';
import { RdmaError } from './errors.js';

/**
 * Makes the error for a bad argument.
 *
 * @param name the argument's name as the caller wrote it
 * @param value what was given
 * @param expected what would have been right, for example `an integer from 1 to 64`
 * @returns an RdmaError with code RDMA_ERR_INVALID_ARGUMENT; it is returned, not thrown
 */
export function invalidArgument(name: string, value: unknown, expected: string): RdmaError {
  return new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${name} must be ${expected}, not ${describe(value)}`);
}

/**
 * Checks an integer.
 *
 * @param name the argument's name
 * @param value what was given
 * @param min smallest allowed, inclusive
 * @param max largest allowed, inclusive
 * @returns the value
 * @throws RDMA_ERR_INVALID_ARGUMENT when it is not a safe integer within the bounds
 */
export function checkInteger(
  name: string,
  value: unknown,
  min: number = Number.MIN_SAFE_INTEGER,
  max: number = Number.MAX_SAFE_INTEGER,
): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw invalidArgument(name, value, `an integer from ${min} to ${max}`);
}

/**
 * Checks membership in a list.
 *
 * @returns the value
 * @throws RDMA_ERR_INVALID_ARGUMENT when it is none of the list's
 */
export function checkOneOf<const T>(name: string, value: unknown, list: readonly T[]): T {
  for (const item of list) if (Object.is(item, value)) return item;
  throw invalidArgument(name, value, `one of ${list.map((item) => inspect(item)).join(', ')}`);
}

/** Bounds for `checkString`; lengths count UTF-16 code units, as `String.length` does. */
export interface StringBounds {
  minLength?: number;
  maxLength?: number;
  /** Must not be global or sticky, as those keep a position between calls. */
  pattern?: RegExp;
}

/**
 * Checks a string.
 *
 * @returns the value
 * @throws RDMA_ERR_INVALID_ARGUMENT when it is no string, or its length or form is out of bounds
 */
export function checkString(name: string, value: unknown, bounds: StringBounds = {}): string {
  const { minLength = 0, maxLength = Number.POSITIVE_INFINITY, pattern } = bounds;
  if (
    typeof value === 'string' &&
    value.length >= minLength &&
    value.length <= maxLength &&
    (pattern === undefined || pattern.test(value))
  ) {
    return value;
  }
  const limits: string[] = [];
  if (minLength > 0) limits.push(`at least ${minLength} characters`);
  if (maxLength !== Number.POSITIVE_INFINITY) limits.push(`at most ${maxLength} characters`);
  if (pattern !== undefined) limits.push(`the form ${pattern}`);
  throw invalidArgument(name, value, limits.length === 0 ? 'a string' : `a string of ${limits.join(', ')}`);
}

/**
 * Checks a boolean.
 *
 * @returns the value
 * @throws RDMA_ERR_INVALID_ARGUMENT when it is neither true nor false
 */
export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw invalidArgument(name, value, 'a boolean');
}

/**
 * Checks a function; its parameters cannot be checked, so the caller names the type.
 *
 * @returns the value
 * @throws RDMA_ERR_INVALID_ARGUMENT when it is no function
 */
// biome-ignore lint/suspicious/noExplicitAny: any function is acceptable here, and only any[] admits them all
export function checkFunction<T extends (...args: any[]) => unknown>(name: string, value: T | unknown): T {
  if (typeof value === 'function') return value as T;
  throw invalidArgument(name, value, 'a function');
}

/**
 * Checks an options bag or document: an object that is neither null nor an array nor a function.
 *
 * @returns the value
 * @throws RDMA_ERR_INVALID_ARGUMENT when it is something else
 */
export function checkObject<T extends object = Record<string, unknown>>(name: string, value: unknown): T {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as T;
  throw invalidArgument(name, value, 'an object');
}

/**
 * Checks an optional AbortSignal.
 *
 * @returns the signal, or undefined when undefined was given
 * @throws RDMA_ERR_INVALID_ARGUMENT when it is something else
 */
export function checkAbortSignal(name: string, value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined;
  const signal = value as Partial<AbortSignal> | null;
  if (
    typeof signal === 'object' &&
    signal !== null &&
    typeof signal.aborted === 'boolean' &&
    typeof signal.addEventListener === 'function'
  ) {
    return signal as AbortSignal;
  }
  throw invalidArgument(name, value, 'an AbortSignal');
}

/**
 * Checks bytes and shows them as a Uint8Array over the same memory, without a copy.
 *
 * @param name the argument's name
 * @param value an ArrayBuffer, SharedArrayBuffer or any view on one
 * @returns a view of exactly the given bytes
 * @throws RDMA_ERR_INVALID_ARGUMENT when it is no buffer, or its memory has been detached
 */
export function checkBytes(name: string, value: unknown): Uint8Array {
  // The usual case first; a detached view has no bytes. Not what only inherits from a Uint8Array.
  if (ArrayBuffer.isView(value) && value instanceof Uint8Array && value.byteLength > 0) return value;
  if (ArrayBuffer.isView(value)) {
    if (isDetached(value.buffer)) throw invalidArgument(name, value, 'bytes whose memory is still attached');
    return value instanceof Uint8Array ? value : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }
  // Not instanceof: buffers of another realm (node:vm, a test runner) are as good.
  if (types.isAnyArrayBuffer(value)) {
    if (isDetached(value)) throw invalidArgument(name, value, 'bytes whose memory is still attached');
    return new Uint8Array(value);
  }
  throw invalidArgument(name, value, 'an ArrayBuffer or a view on one');
}

/** A detached buffer admits no new view (ECMA-262, TypedArray constructor); Node 20 has no `detached` property. */
function isDetached(buffer: ArrayBufferLike): boolean {
  if (buffer.byteLength !== 0) return false;
  try {
    new Uint8Array(buffer);
    return false;
  } catch {
    return true;
  }
}

/** Describes a value in one short line for an error message. Never throws, whatever a Proxy or getter does. */
function describe(value: unknown): string {
  try {
    const text = inspect(value, { depth: 0, maxArrayLength: 3, maxStringLength: 60, breakLength: Infinity });
    return text.length > 120 ? `${text.slice(0, 117)}...` : text.replaceAll('\n', ' ');
  } catch {
    return `a ${typeof value}`;
  }
}
