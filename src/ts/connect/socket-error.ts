// Invariant: a failed socket call becomes an RdmaError with the system's code, errno and syscall, the address it was
// about, and a remedy wherever there is one.

import { errnoError, RdmaError, systemCode } from '../core/errors.js';

/** An IP address (or, for what the user asked for, a host name) and a TCP port. */
export interface SocketAddress {
  readonly host: string;
  readonly port: number;
}

/** What a user can do about a connection that cannot be made. */
const CONNECT_REMEDIES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'start the server first, and check host and port',
  ENOTFOUND: 'check the spelling of the host name and the resolver',
  EAI_AGAIN: 'the resolver did not answer; check DNS, or give an IP address',
  EHOSTUNREACH: 'check the route and the firewall between the hosts',
  ENETUNREACH: 'check that an interface with a route to that network is up',
  EADDRNOTAVAIL: 'local ports may have run out; close unused connections',
  EMFILE: 'raise the limit on open files (ulimit -n)',
  ETIMEDOUT: 'check the route and the firewall between the hosts',
};

/** What a user can do about a port that cannot be listened on. */
const LISTEN_REMEDIES: Readonly<Record<string, string>> = {
  EADDRINUSE: 'choose another port, or 0 for any free one; find its owner with: ss -ltnp',
  EACCES: 'choose a port of 1024 or above',
  EADDRNOTAVAIL: 'choose an address that this host has; list them with: ip address',
  ENOTFOUND: 'check the spelling of the host name',
  EMFILE: 'raise the limit on open files (ulimit -n)',
};

/**
 * Makes the error for a connection that could not be made.
 *
 * @param error what the socket reported
 * @param address where the connection should have gone
 */
export function connectError(error: unknown, address: SocketAddress): RdmaError {
  return systemError(error, 'connect', address, CONNECT_REMEDIES);
}

/**
 * Makes the error for a port that could not be listened on.
 *
 * @param error what the server reported
 * @param address where it should have listened
 */
export function listenError(error: unknown, address: SocketAddress): RdmaError {
  return systemError(error, 'listen', address, LISTEN_REMEDIES);
}

/**
 * Makes the error for an established connection that broke.
 *
 * @param error what the socket reported, or undefined when the peer ended it without a word
 * @returns an RDMA_ERR_PEER_GONE error whose cause is the system's
 */
export function peerGone(error?: unknown): RdmaError {
  if (error === undefined) {
    return new RdmaError('RDMA_ERR_PEER_GONE', 'the peer ended the connection without saying goodbye');
  }
  const { errno, syscall } = details(error);
  return new RdmaError('RDMA_ERR_PEER_GONE', `the connection to the peer broke: ${text(error)}`, {
    errno,
    syscall,
    cause: error,
  });
}

function systemError(
  error: unknown,
  fallback: string,
  { host, port }: SocketAddress,
  remedies: Readonly<Record<string, string>>,
): RdmaError {
  // Node tries several addresses of a name and reports all failures in one AggregateError; the first one speaks.
  const first = error instanceof AggregateError && error.errors.length > 0 ? error.errors[0] : error;
  const { code, errno, syscall = fallback } = details(first);
  const known = errno === undefined ? undefined : errnoError(errno, syscall);
  const name = systemCode(code ?? known?.code);
  const wording = known === undefined || known.code === 'UNKNOWN' ? text(first) : wordsOf(known);
  const remedy = remedies[name];
  return new RdmaError(name, `${wording}: ${host}:${port}`, { errno, syscall, remedy, cause: error });
}

/** The words of an `errnoError`, without its code before and its syscall after them. */
function wordsOf(error: RdmaError): string {
  return error.message.slice(error.code.length + 2, error.message.length - (error.syscall?.length ?? 0) - 2);
}

function details(error: unknown): { code?: string; errno?: number; syscall?: string } {
  const { code, errno, syscall } = (error ?? {}) as { code?: unknown; errno?: unknown; syscall?: unknown };
  return {
    ...(typeof code === 'string' ? { code } : {}),
    ...(typeof errno === 'number' ? { errno } : {}),
    ...(typeof syscall === 'string' ? { syscall } : {}),
  };
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
