// `onepiece deploy` and `onepiece rollback`: a version of an app is brought up, and waited for.
//
// Invariant: the exit code says what became of it: 0 it has the new requests, or has them already; 1 it was taken back,
// with the reason. What an interrupted command has begun goes on; `status` shows it.
import { Command, InvalidArgumentError } from 'commander';
import { deploy, type Deployed, type ReleaseOutcome, rollback, whenReleased } from '../cluster/index.js';
import { checkVersion } from '../cluster/release-records.js';
import type { ControlStore } from '../control/index.js';
import { loadService } from '../serve/index.js';
import { type ControlOptions, controlOptions, withControl } from './cluster-options.js';
import { ExitCode, UsageError } from './exit.js';
import { duration } from './options.js';

interface Releasing extends ControlOptions {
  readyWithin?: number;
  wait: boolean;
  json?: true;
}

const SCHEMA_VERSION = 1;
const MAX_MS = 86_400_000;

function command(name: string): Command {
  return controlOptions(new Command(name))
    .option('--ready-within <time>', 'how long it may take until it works, such as 90s; default 5m', duration(MAX_MS))
    .option('--no-wait', 'do not wait for what becomes of it')
    .option('--json', 'print one JSON document');
}

export function releaseCommands(setExitCode: (code: number) => void): Command[] {
  return [
    command('deploy')
      .description('bring up a version of a workflow, and give it the new requests when all of its places work')
      .argument('<workflow>', '`demo`, or the path of a module that exports a workflow, the same on every node')
      .option('--export <name>', 'which workflow, when the module exports several')
      .option('--version <name>', 'names the version; default: the first 12 digits of the SHA-256 of the file', version)
      .action(async (module: string, options: Releasing & { export?: string; version?: string }) => {
        const { workflow } = await loadService(module, options.export).catch(asUsage);
        const { readyWithin: readyWithinMs } = options;
        setExitCode(
          await release(options, (store) => deploy(store, workflow, { version: options.version, readyWithinMs })),
        );
      }),
    command('rollback')
      .description('go back to the version before, or give up the one that is being brought up')
      .argument('<app>')
      .option('--to <version>', 'one of the versions before, as `status` names them', version)
      .action(async (app: string, options: Releasing & { to?: string }) => {
        const { to, readyWithin: readyWithinMs } = options;
        setExitCode(await release(options, (store) => rollback(store, app, { to, readyWithinMs })));
      }),
  ];
}

async function release(options: Releasing, order: (store: ControlStore) => Promise<Deployed>): Promise<number> {
  return withControl(options, async (store) => {
    const deployed = await order(store).catch(asUsage);
    // Beside nothing it is current at once, and whether it works is seen when a gateway connects.
    const isWaiting = options.wait && deployed.former !== null;
    const outcome = isWaiting ? await whenReleased(store, deployed) : undefined;
    const { app, version, release: number, module, hash, isNew, former } = deployed;
    const state = outcome?.type ?? (former === null ? 'current' : 'next');
    const reason = outcome?.reason ?? null;
    const document = { app, version, release: number, module, hash, isNew, former, state, reason };
    const isGood = state === 'current' || state === 'next';
    if (options.json) process.stdout.write(`${JSON.stringify({ schemaVersion: SCHEMA_VERSION, ...document })}\n`);
    else (isGood ? process.stdout : process.stderr).write(`${wordsOf(deployed, outcome)}\n`);
    return isGood ? ExitCode.OK : ExitCode.FAILURE;
  });
}

function wordsOf({ app, version, isNew, former }: Deployed, outcome: ReleaseOutcome | undefined): string {
  if (outcome?.type === 'rolled-back')
    return `version ${version} of ${app} was taken back, ${former} goes on: ${outcome.reason}`;
  if (outcome?.type === 'superseded') return `version ${version} of ${app} was given up: ${outcome.reason}`;
  if (outcome !== undefined)
    return `${app} is under version ${version}${outcome.reason === null ? '' : ` (${outcome.reason})`}`;
  if (!isNew) return `nothing changes: ${app} is deployed as version ${version} already`;
  if (former === null) return `${app} is deployed, in version ${version}`;
  return `version ${version} of ${app} is brought up beside ${former}`;
}

function version(text: string): string {
  try {
    return checkVersion(text);
  } catch {
    throw new InvalidArgumentError('A version is 1 to 32 letters, digits, - and _.');
  }
}

function asUsage(error: unknown): never {
  const { code, message } = error as { code?: string; message: string };
  if (code === 'RDMA_ERR_INVALID_ARGUMENT') throw new UsageError(message);
  throw error;
}
