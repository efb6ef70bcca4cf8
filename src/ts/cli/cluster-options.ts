// What the commands of a cluster share: where the control store is, and the secret.
//
// Invariant: a secret comes from a file that only its owner may read, never from the command line, where others see it.
import { readFileSync, statSync } from 'node:fs';
import type { Command } from 'commander';
import { type ControlStore, natsControlStore } from '../control/index.js';
import { UsageError } from './exit.js';
import { integer } from './options.js';

/** How long nats-server may take for an answer, where nothing else was said. */
const CONTROL_TIMEOUT_MS = 1000;
/** It is looked for as long as so many answers may take. */
const CONNECT_ANSWERS = 5;

export interface ControlOptions {
  control: string;
  bucket: string;
  controlTimeoutMs?: number;
}

/** Adds the options that say where the control store is. */
export function controlOptions(command: Command): Command {
  return command
    .requiredOption('--control <url>', 'the nats-server that the cluster agrees through, such as nats://host:4222')
    .option('--bucket <name>', 'the key-value bucket of the cluster', 'onepiece')
    .option(
      '--control-timeout-ms <ms>',
      'how long nats-server may take for an answer; at most a third of --lease-ms',
      integer(50, 60_000),
      CONTROL_TIMEOUT_MS,
    );
}

/** Does something with the control store. @throws UsageError for an address that makes no sense */
export async function withControl<T>(options: ControlOptions, work: (store: ControlStore) => Promise<T>): Promise<T> {
  const store = await openControl(options);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/** Opens the control store, which the caller closes. @throws UsageError for an address that makes no sense */
export async function openControl({
  control,
  bucket,
  controlTimeoutMs: timeoutMs = CONTROL_TIMEOUT_MS,
}: ControlOptions): Promise<ControlStore> {
  const servers = control.split(',').map((each) => each.trim());
  for (const server of servers) {
    if (!/^(nats|tls):\/\/\S+$/.test(server)) {
      throw new UsageError(`${server} is no address of a nats-server: write nats://host:4222`);
    }
  }
  try {
    return await natsControlStore({ servers, bucket, timeoutMs, connectTimeoutMs: CONNECT_ANSWERS * timeoutMs });
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code === 'RDMA_ERR_INVALID_ARGUMENT') throw new UsageError(message);
    throw error;
  }
}

const OTHERS = 0o077;

/** Reads the secret of the cluster. @throws UsageError when the file is missing, open to others or too short */
export function readSecret(file: string): string {
  let text: string;
  try {
    const { mode } = statSync(file);
    if ((mode & OTHERS) !== 0) throw new UsageError(`others may read ${file}: chmod 600 ${file}`);
    text = readFileSync(file, 'utf8').trim();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${file} cannot be read: ${(error as Error).message}`);
  }
  if (text.length < 8 || text.length > 4096) {
    throw new UsageError(
      `${file} holds ${text.length} characters: a secret has 8 to 4096 (openssl rand -hex 32 > ${file})`,
    );
  }
  return text;
}
