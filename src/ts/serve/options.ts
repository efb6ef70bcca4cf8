// How a server is set up.
//
// Invariant: everything that a client could make large or long has a bound here, with its unit in its name; a server
// that strangers could reach does not start without tokens.
import { isIP } from 'node:net';
import { RdmaError } from '../core/errors.js';
import { checkBoolean, checkInteger, checkObject, checkString, invalidArgument } from '../core/validate.js';
import { Tokens } from './tokens.js';

const MAX_MS = 2 ** 31 - 1;
const MAX_BYTES = 2 ** 31 - 1;

/** The options of a server that are numbers: what they are, their default and their bounds. */
export const LIMITS = {
  maxBodyBytes: { about: 'the largest body of a request', default: 64 * 2 ** 20, min: 1024, max: MAX_BYTES },
  maxJsonBytes: { about: 'the largest body that is JSON', default: 16 * 2 ** 20, min: 1024, max: 2 ** 28 },
  maxUploadBytes: {
    about: 'bodies that are received or handed over at the same time, together',
    default: 512 * 2 ** 20,
    min: 1024,
    max: 2 ** 40,
  },
  maxJsonResultBytes: {
    about: 'tensors of a result that is answered as JSON',
    default: 64 * 2 ** 20,
    min: 0,
    max: 2 ** 28,
  },
  maxHeaderBytes: { about: 'line and headers of a request', default: 16 * 1024, min: 1024, max: 2 ** 20 },
  maxConnections: { about: 'connections at the same time', default: 4096, min: 1, max: 2 ** 20 },
  maxStreams: { about: 'clients that listen to events at the same time', default: 2048, min: 1, max: 2 ** 20 },
  maxWaiting: { about: 'requests that wait for a result at the same time', default: 1024, min: 1, max: 2 ** 20 },
  headersTimeoutMs: { about: 'until the headers of a request are there', default: 10_000, min: 100, max: MAX_MS },
  requestTimeoutMs: { about: 'until a whole request is there', default: 120_000, min: 100, max: MAX_MS },
  idleTimeoutMs: { about: 'a connection on which nothing moves', default: 60_000, min: 100, max: MAX_MS },
  keepAliveTimeoutMs: { about: 'a connection between two requests', default: 5000, min: 100, max: MAX_MS },
  maxWaitMs: { about: 'the longest wait of GET .../result?waitMs=', default: 60_000, min: 0, max: MAX_MS },
  maxRunMs: { about: 'the longest wait of POST /v1/run', default: 3_600_000, min: 1, max: MAX_MS },
  eventIntervalMs: { about: 'a comment is sent to silent listeners after', default: 15_000, min: 10, max: MAX_MS },
  drainMs: { about: 'running work may finish after the first signal', default: 30_000, min: 0, max: MAX_MS },
} as const;

/** Name of a limit. */
export type LimitName = keyof typeof LIMITS;

/** The limits of a server; the defaults are in {@link LIMITS}. */
export type ServerLimits = { [name in LimitName]?: number };

/** How to set up a server. */
export interface ServerOptions extends ServerLimits {
  /** The address to listen at; default 127.0.0.1. One that others can reach needs tokens. */
  host?: string;
  /** The port, 0 to 65535; default 8080. 0: any that is free. */
  port?: number;
  /** Who may ask. Without tokens everybody may who reaches the address, which must be a loopback address then. */
  tokens?: Tokens;
  /** Names under which the server is known, for the Host header; default: its address, and on loopback `localhost`. */
  names?: readonly string[];
  /** Whether `POST /v1/run` cancels the job when its client goes away; default true. */
  cancelOnDisconnect?: boolean;
}

/** Options with their defaults. */
export interface ServerSettings extends Required<ServerLimits> {
  host: string;
  port: number;
  tokens: Tokens | undefined;
  /** In lower case, without a port; undefined: any. */
  names: ReadonlySet<string> | undefined;
  cancelOnDisconnect: boolean;
}

/**
 * Checks the options of a server.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the option; RDMA_ERR_UNAUTHENTICATED for an address that others
 *   can reach, without tokens
 */
export function checkServerOptions(options: ServerOptions): ServerSettings {
  checkObject('options', options);
  const limits = {} as Required<ServerLimits>;
  for (const name of Object.keys(LIMITS) as LimitName[]) {
    const { default: fallback, min, max } = LIMITS[name];
    limits[name] = checkInteger(name, options[name] ?? fallback, min, max);
  }
  const host = checkString('host', options.host ?? '127.0.0.1', { minLength: 1, maxLength: 253 });
  const { tokens, names } = options;
  if (tokens !== undefined && !(tokens instanceof Tokens)) throw invalidArgument('tokens', tokens, 'Tokens');
  if (tokens === undefined && !isLoopback(host)) {
    throw new RdmaError('RDMA_ERR_UNAUTHENTICATED', `others can reach ${host}, and there are no tokens`, {
      remedy: 'give --tokens-file, or listen at 127.0.0.1',
    });
  }
  if (names !== undefined && (!Array.isArray(names) || !names.every((name) => typeof name === 'string'))) {
    throw invalidArgument('names', names, 'an array of strings');
  }
  return {
    ...limits,
    host,
    port: checkInteger('port', options.port ?? 8080, 0, 65535),
    tokens,
    names: knownNames(host, names, tokens !== undefined),
    cancelOnDisconnect: checkBoolean('cancelOnDisconnect', options.cancelOnDisconnect ?? true),
  };
}

/** Whether only this host reaches an address. */
export function isLoopback(host: string): boolean {
  if (host === 'localhost') return true;
  if (isIP(host) === 4) return host.startsWith('127.');
  return isIP(host) === 6 && /^(0*:)*:?0*1$/.test(host) && host !== '::';
}

// A page elsewhere can give its own name this address (DNS rebinding): without tokens, the name is what tells it apart.
function knownNames(host: string, names: readonly string[] | undefined, hasTokens: boolean): Set<string> | undefined {
  if (names === undefined && hasTokens) return undefined;
  return new Set([host, 'localhost', '127.0.0.1', '::1', ...(names ?? [])].map((name) => name.toLowerCase()));
}
