// Bearer tokens: who may ask, as which tenant, and how urgently.
//
// Invariant: a token is kept as its SHA-256 only, and never printed; comparing takes the same time whichever token
// matches and whether one does.
import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { RdmaError } from '../core/errors.js';

/** What a token allows. */
export interface Access {
  readonly tenant: string;
  /** The highest priority that its requests may have. */
  readonly maxPriority: number;
  /** Sees the numbers of all tenants: status, metrics, dashboard. Jobs are its tenant's, as for the others. */
  readonly isOperator: boolean;
}

const LINE = /^([A-Za-z0-9._-]{1,64})[ \t]+(\S+)(?:[ \t]+(-?\d{1,3}))?(?:[ \t]+(operator))?$/;
const MIN_TOKEN_LENGTH = 16;
const MAX_TOKEN_LENGTH = 512;
const MAX_FILE_BYTES = 2 ** 20;
const VISIBLE = /^[\x21-\x7e]+$/;

const hash = (token: string) => createHash('sha256').update(token).digest();

/** The tokens of a server. */
export class Tokens {
  readonly #known: readonly { hash: Buffer; access: Access }[];

  private constructor(known: readonly { hash: Buffer; access: Access }[]) {
    this.#known = known;
  }

  /**
   * Reads tokens: a line for each, `TENANT TOKEN [MAX-PRIORITY] [operator]`. Empty lines and those that begin with # do
   * not count. A tenant may have several tokens, for example while one is replaced by another.
   *
   * @param text the lines; a tenant has 1 to 64 of `A-Z a-z 0-9 . _ -`, a token 16 to 512 visible characters of ASCII,
   *   a priority is -100 to 100, default 0
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the number of the line, never with what it says
   */
  static parse(text: string): Tokens {
    const known: { hash: Buffer; access: Access }[] = [];
    for (const [i, line] of text.split('\n').entries()) {
      const trimmed = line.trim();
      if (trimmed === '' || trimmed.startsWith('#')) continue;
      const [, tenant, token = '', priority = '0', role] = LINE.exec(trimmed) ?? [];
      const bad = (why: string) =>
        new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `line ${i + 1} of the tokens ${why}`, {
          remedy: 'write TENANT TOKEN [MAX-PRIORITY] [operator], for example with a token of `openssl rand -hex 32`',
        });
      if (tenant === undefined) throw bad('is malformed');
      if (token.length < MIN_TOKEN_LENGTH) throw bad(`has a token of fewer than ${MIN_TOKEN_LENGTH} characters`);
      if (token.length > MAX_TOKEN_LENGTH || !VISIBLE.test(token))
        throw bad('has a token that cannot be sent in a header');
      const maxPriority = Number(priority);
      if (Math.abs(maxPriority) > 100) throw bad('has a priority that is not from -100 to 100');
      const own = hash(token);
      if (known.some((other) => other.hash.equals(own))) throw bad('has a token that was there before');
      known.push({ hash: own, access: { tenant, maxPriority, isOperator: role !== undefined } });
    }
    if (known.length === 0) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'there is no token among the tokens');
    return new Tokens(known);
  }

  /**
   * Reads a file of tokens.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when it cannot be read, is larger than 1 MiB, or a line is wrong
   */
  static read(path: string): Tokens {
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (cause) {
      const why = (cause as NodeJS.ErrnoException).code ?? 'unknown error';
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `the tokens cannot be read from ${path} (${why})`, { cause });
    }
    if (text.length > MAX_FILE_BYTES) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${path} is larger than ${MAX_FILE_BYTES} bytes`);
    }
    return Tokens.parse(text);
  }

  /** What a token allows; undefined: it is unknown. */
  find(token: string): Access | undefined {
    const asked = hash(token);
    let found: Access | undefined;
    // To the end, whatever was found.
    for (const { hash: own, access } of this.#known) if (timingSafeEqual(own, asked)) found = access;
    return found;
  }

  /**
   * What the Authorization header of a request allows: `Bearer TOKEN`, or `Basic` with the token as its password, as
   * browsers send it.
   *
   * @returns undefined: nothing
   */
  authorize(header: string | undefined): Access | undefined {
    const [, scheme = '', value = ''] = /^([A-Za-z]+) +([\x21-\x7e]{1,1024})$/.exec(header ?? '') ?? [];
    if (scheme.toLowerCase() === 'bearer') return this.find(value);
    if (scheme.toLowerCase() !== 'basic') return undefined;
    const pair = Buffer.from(value, 'base64').toString('latin1');
    const colon = pair.indexOf(':');
    return colon < 0 ? undefined : this.find(pair.slice(colon + 1));
  }
}
