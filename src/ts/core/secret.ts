// A secret that is kept, and that nothing prints.
//
// Invariant: its value is in a private field only: util.inspect, console.log, JSON, a structured clone and an error
// that shows the object that holds it show that there is a secret, and nothing of it.
import { inspect } from 'node:util';

const HIDDEN = '[secret]';

/**
 * Copies options, so that whoever keeps them keeps their secret hidden.
 *
 * @param options what the user gave; it stays as it is
 * @returns the same, with the secret in a {@link Secret}; one that is hidden already is taken as it is
 */
export function hideSecret<T extends { secret: unknown }>(
  options: T,
): Omit<T, 'secret'> & { secret: Secret<Revealed<T['secret']>> } {
  const { secret } = options;
  const value = secret instanceof Secret ? secret : new Secret(secret as Revealed<T['secret']>);
  // What the options inherit is theirs too.
  const copy = Object.assign(Object.create(Object.getPrototypeOf(options)), options);
  return Object.defineProperty(copy, 'secret', { value, enumerable: true });
}

type Revealed<S> = S extends Secret<infer V> ? V : S;

/** Holds a value that must not be printed. */
export class Secret<T> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  /** The value itself; for the one call that needs it. */
  reveal(): T {
    return this.#value;
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }

  [inspect.custom](): string {
    return HIDDEN;
  }
}
