// UCX as a peer: its own ucx_perftest, over POSIX shared memory.
//
// Invariant: UCX_TLS leaves one transport only; what is not the table that ucx_perftest prints is an error.
import { RdmaError } from '../../src/ts/core/errors.js';
import { allowedCores } from '../../src/ts/bench/kit/affinity.js';
import { askVersion, serve } from './program.js';
import {
  checkRuns,
  type PeerLatency,
  type PeerOperation,
  type PeerOptions,
  type PeerRate,
  type PeerRun,
} from './peer.js';

const PROGRAM = 'ucx_perftest';
const REMEDY = 'apt-get install ucx-utils';
const LIMIT_S = 120;
const SHOWN_CHARACTERS = 300;
/** Requests that may be outstanding when a rate is measured. */
const OUTSTANDING = '64';
const PERCENTILES = { p50: '50', p99: '99', p999: '99.9' } as const;

const latencyTests: Record<PeerOperation, string> = { put: 'ucp_put_lat', send: 'tag_lat', get: 'ucp_get' };
const rateTests: Record<'put' | 'send', string> = { put: 'ucp_put_bw', send: 'tag_bw' };

/**
 * The name and version of UCX.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when it is not installed
 */
export function ucxName(): string {
  askVersion(PROGRAM, ['-h'], REMEDY);
  const said = askVersion('ucx_info', ['-v'], REMEDY);
  return `UCX ${/Version (\d\S*)/.exec(said)?.[1] ?? 'of unknown version'}`;
}

/**
 * Latency of a put, of a tagged send and receive, or of a get, between two processes that both poll.
 *
 * ucx_perftest tells one percentile in a run, of its last 2048 samples, so each size takes three runs.
 *
 * @returns one for each of `runs`, without samples
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_PROTOCOL with what it said when it fails; RDMA_ERR_TIMEOUT;
 *   RDMA_ERR_ABORTED
 */
export async function ucxLatency(
  operation: PeerOperation,
  runs: readonly PeerRun[],
  { signal }: Pick<PeerOptions, 'signal'> = {},
): Promise<PeerLatency[]> {
  const peer = ucxName();
  const results: PeerLatency[] = [];
  for (const run of checkRuns(runs)) {
    const at = async (rank: string) =>
      figures(await perftest(latencyTests[operation], run, ['-R', rank], signal)).percentileUs;
    const latencyUs = {
      p50: await at(PERCENTILES.p50),
      p99: await at(PERCENTILES.p99),
      p999: await at(PERCENTILES.p999),
    };
    const { sizeBytes, iterations } = run;
    const where = { transport: 'shared-memory', touched: false } as const;
    results.push({ peer, operation, ...where, sizeBytes, iterations, latencyUs, samplesUs: null });
  }
  return results;
}

/**
 * Messages a second with 64 outstanding.
 *
 * @param runs `iterations` are messages here
 * @returns one for each of `runs`
 * @throws as ucxLatency()
 */
export async function ucxRate(
  operation: 'put' | 'send',
  runs: readonly PeerRun[],
  { signal }: Pick<PeerOptions, 'signal'> = {},
): Promise<PeerRate[]> {
  const peer = ucxName();
  const results: PeerRate[] = [];
  for (const run of checkRuns(runs)) {
    const said = await perftest(rateTests[operation], run, ['-O', OUTSTANDING], signal);
    const { messagesPerSecond } = figures(said);
    const { sizeBytes, iterations: messages } = run;
    results.push({ peer, operation, transport: 'shared-memory', sizeBytes, messages, messagesPerSecond });
  }
  return results;
}

function perftest(
  test: string,
  { sizeBytes, iterations, warmUp }: Required<PeerRun>,
  more: readonly string[],
  signal: AbortSignal | undefined,
): Promise<string> {
  const what = ['-t', test, '-s', String(sizeBytes), '-n', String(iterations), '-w', String(warmUp), ...more];
  // As mpirun binds its ranks: two that poll and share a core would measure the scheduler.
  const cores = allowedCores();
  const on = (i: number) => (cores.length > 1 ? ['-c', String(cores[i])] : []);
  const server = (port: string) => ['-p', port, ...on(0)];
  const client = (port: string) => ['-p', port, ...on(1), ...what, '-f', '-v', '127.0.0.1'];
  // `self` for the connection to oneself that a worker may make.
  const env = { UCX_TLS: 'posix,self', UCX_WARN_UNUSED_ENV_VARS: 'n' };
  return serve(PROGRAM, server, client, { limitS: LIMIT_S, env, signal });
}

/** Reads the last row of the table that `-f -v` gives. @internal */
export function figures(output: string): { percentileUs: number; messagesPerSecond: number } {
  const lines = output.trim().split('\n');
  const header = lines.findLastIndex((line) => line.startsWith('iterations,'));
  const names = lines[header]?.split(',') ?? [];
  const cells = lines[header + 1]?.split(',').map(Number) ?? [];
  const cell = (wanted: RegExp) => cells[names.findIndex((name) => wanted.test(name))];
  const percentileUs = cell(/percentile_lat$/);
  const messagesPerSecond = cell(/^overall_mr$/);
  if (header >= 0 && isFigure(percentileUs) && isFigure(messagesPerSecond)) return { percentileUs, messagesPerSecond };
  const shown = output.replace(/\s+/g, ' ').trim().slice(-SHOWN_CHARACTERS);
  throw new RdmaError('RDMA_ERR_PROTOCOL', `${PROGRAM} printed no table that is understood: ${shown || 'nothing'}`);
}

const isFigure = (value: number | undefined): value is number => Number.isFinite(value) && value! >= 0;
