// What a pingpong says: the lines of the C programs, and one JSON document.
//
// Invariant: scripts that read the output of ibv_rc_pingpong and its kin can read this one.
import { isIPv4 } from 'node:net';
import type { PingPongAddress } from './bootstrap.js';
import { formatGid } from '../../verbs/index.js';
import { type Machine, machine } from '../../bench/kit/machine.js';
import { round3 } from '../../bench/kit/statistics.js';
import type { PingPongType } from './settings.js';

/** What was measured. */
export interface PingPongResult {
  type: PingPongType;
  role: 'client' | 'server';
  device: string;
  local: PingPongAddress[];
  remote: PingPongAddress[];
  sizeBytes: number;
  /** Messages each way. */
  iterations: number;
  queuePairs: number;
  events: boolean;
  seconds: number;
  /** null when nothing was validated. */
  invalidMessages: number | null;
  /** First bad page of each invalid message; pages of 4096 bytes. */
  invalidPages: number[];
}

function hex(value: number, digits: number): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}

/** One address as a line. The programs write a colon before the GID in one place, and so does this. */
export function addressLine(which: 'local' | 'remote', type: PingPongType, address: PingPongAddress): string {
  const { lid, qpNum, psn, gid } = address;
  const label = which === 'local' ? 'local address: ' : 'remote address:';
  const separator = which === 'local' && type === 'ud' ? ':' : ',';
  const words = formatGid(gid);
  const notation = isIPv4(words) ? `::ffff:${words}` : words;
  return `  ${label} LID ${hex(lid, 4)}, QPN ${hex(qpNum, 6)}, PSN ${hex(psn, 6)}${separator} GID ${notation}\n`;
}

function figures(result: PingPongResult) {
  const { sizeBytes, iterations, seconds } = result;
  const bytes = sizeBytes * iterations * 2;
  return { bytes, megabitsPerSecond: (bytes * 8) / (seconds * 1e6), usecPerIteration: (seconds * 1e6) / iterations };
}

/** The lines at the end. */
export function resultLines(result: PingPongResult): string {
  const { bytes, megabitsPerSecond, usecPerIteration } = figures(result);
  const seconds = result.seconds.toFixed(2);
  return [
    `${bytes} bytes in ${seconds} seconds = ${megabitsPerSecond.toFixed(2)} Mbit/sec\n`,
    `${result.iterations} iters in ${seconds} seconds = ${usecPerIteration.toFixed(2)} usec/iter\n`,
    ...result.invalidPages.map((page) => `invalid data in page ${page}\n`),
  ].join('');
}

export interface PingPongReport extends PingPongResult {
  schemaVersion: 1;
  machine: Machine;
  test: 'pingpong';
  bytes: number;
  megabitsPerSecond: number;
  usecPerIteration: number;
}

/** The document for --json. */
export function pingPongReport(result: PingPongResult): PingPongReport {
  const { bytes, megabitsPerSecond, usecPerIteration } = figures(result);
  return {
    schemaVersion: 1,
    machine: machine(),
    test: 'pingpong',
    ...result,
    bytes,
    megabitsPerSecond: round3(megabitsPerSecond),
    usecPerIteration: round3(usecPerIteration),
  };
}
