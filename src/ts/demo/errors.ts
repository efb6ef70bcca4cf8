// Errors of the demo. Invariant: every failure that a user can cause leaves this folder as a DemoError whose code
// names the cause and whose one-line message names the input and the remedy.

/** Codes that a DemoError can carry. They are stable: callers may compare against them. */
export type DemoErrorCode =
  | 'DEMO_ERR_INVALID_ARGUMENT'
  | 'DEMO_ERR_PROMPT_TOO_LONG'
  | 'DEMO_ERR_NO_SUCH_FILE'
  | 'DEMO_ERR_IS_DIRECTORY'
  | 'DEMO_ERR_NOT_A_FILE'
  | 'DEMO_ERR_UNREADABLE'
  | 'DEMO_ERR_EMPTY_FILE'
  | 'DEMO_ERR_NOT_AN_IMAGE'
  | 'DEMO_ERR_UNSUPPORTED_FORMAT'
  | 'DEMO_ERR_TRUNCATED'
  | 'DEMO_ERR_TOO_LARGE'
  | 'DEMO_ERR_SHARP_MISSING'
  | 'DEMO_ERR_PYTHON_MISSING'
  | 'DEMO_ERR_ENCODE_FAILED';

/** An error of the demo: a stable `code`, and a message of one line with the remedy in it. */
export class DemoError extends Error {
  readonly code: DemoErrorCode;

  constructor(code: DemoErrorCode, message: string, options?: { cause?: unknown }) {
    super(message.replace(/\s+/g, ' ').trim(), options);
    this.name = 'DemoError';
    this.code = code;
  }
}

/**
 * Checks that a value is an integer within a range, both ends included.
 * @throws DemoError DEMO_ERR_INVALID_ARGUMENT, naming the argument, the range and what was given.
 */
export function requireInteger(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw invalidArgument(name, `an integer from ${min} to ${max}`, value);
  }
  return value;
}

/**
 * Checks that a tensor has exactly the number of elements its shape asks for.
 * @throws DemoError DEMO_ERR_INVALID_ARGUMENT when it has more or fewer.
 */
export function requireLength(name: string, actual: number, expected: number, shape: string): void {
  if (actual !== expected) {
    throw invalidArgument(name, `${expected} elements, shape ${shape}`, actual);
  }
}

/** The error for an argument of the wrong kind; `given` is shown shortened. */
export function invalidArgument(name: string, wanted: string, given: unknown): DemoError {
  let shown: string;
  try {
    shown = typeof given === 'string' ? JSON.stringify(given) : String(given);
  } catch {
    shown = typeof given;
  }
  const short = shown.length > 80 ? `${shown.slice(0, 77)}...` : shown;
  return new DemoError('DEMO_ERR_INVALID_ARGUMENT', `${name}: want ${wanted}, got ${short}`);
}
