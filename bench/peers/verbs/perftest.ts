// Running a perftest program, server and client, on this machine.
//
// Invariant: each setting becomes the option of perftest that means the same; both its processes are gone when
// runPerftest() has ended.
import { RdmaError } from '../../../src/ts/core/errors.js';
import { askVersion, serve } from '../program.js';
import { parsePerftest, type PerftestRow } from './perftest-table.js';
import { isLatency, type VerbsSettings, verbOf } from '../../../src/ts/bench/verbs/settings.js';
import type { Place } from '../../../src/ts/bench/verbs/side.js';

/** Beyond the time that the measurement itself should take. */
const LIMIT_S = 120;

/** The program that measures what `test` measures. */
export function perftestProgram(test: VerbsSettings['test']): string {
  return `ib_${test.replace('-', '_')}`;
}

/**
 * The version of perftest that is installed.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when it is not installed, with the remedy, or cannot use the device
 */
export function perftestVersion(test: VerbsSettings['test'], device: string): string {
  const program = perftestProgram(test);
  if (device === 'soft0') {
    throw new RdmaError(
      'RDMA_ERR_INVALID_ARGUMENT',
      `${program} cannot run on soft0, which exists inside this library only`,
      {
        remedy: 'name a device of the kernel with --device; without one, run inside `npm run rxe -- COMMAND` with rxe0',
      },
    );
  }
  const said = askVersion(program, ['--version'], 'apt-get install perftest');
  return /(\d+\.\d+)/.exec(said)?.[1] ?? 'of unknown version';
}

/** The arguments that make perftest measure the same. @internal */
export function perftestArguments(
  place: Place,
  gidIndex: number,
  settings: VerbsSettings,
  sizeBytes: number,
): string[] {
  const { test, durationS, iterations, mtuBytes } = settings;
  const args = ['-d', place.device, '-i', String(place.ibPort), '-x', String(gidIndex)];
  if (test !== 'atomic-lat') args.push('-s', String(sizeBytes));
  else args.push('-A', settings.atomic === 'fetch-add' ? 'FETCH_AND_ADD' : 'CMP_AND_SWAP');
  if (durationS > 0) args.push('-D', String(durationS));
  else args.push('-n', String(iterations));
  if (mtuBytes > 0) args.push('-m', String(mtuBytes));
  if (settings.events) args.push('-e');
  const verb = verbOf(test);
  if (verb === 'write' || verb === 'send') args.push('-I', String(settings.inlineBytes));
  if (verb === 'send') args.push('-r', String(settings.rxDepth));
  if (isLatency(test)) return args;
  args.push('-t', String(settings.txDepth), '-q', String(settings.qps));
  args.push('-Q', String(settings.cqMod));
  if (settings.postList > 1) args.push('-l', String(settings.postList));
  if (settings.bidirectional) args.push('-b');
  return args;
}

/**
 * Runs the program once.
 *
 * @param args as perftestArguments makes them
 * @param seconds how long the measurement should take at most
 * @throws RdmaError RDMA_ERR_PROTOCOL with what it said when it fails or prints no table; RDMA_ERR_TIMEOUT;
 *   RDMA_ERR_ABORTED
 */
export async function runPerftest(
  program: string,
  args: readonly string[],
  seconds: number,
  signal?: AbortSignal,
): Promise<PerftestRow> {
  const limitS = LIMIT_S + Math.ceil(seconds);
  const output = await serve(
    program,
    (port) => [...args, '-p', port],
    (port) => [...args, '-p', port, '127.0.0.1'],
    { limitS, signal },
  );
  return parsePerftest(output)[0]!;
}
