// What a process does on a small disk, and prints in JSON. Not a test: full-disk.test.ts starts it, twice on one disk.
// FILL submits until it is refused, and ends as a crash does. GO-ON takes over, meets a disk without a byte of room,
// and goes on when there is room again.
import { closeSync, openSync, rmSync, statfsSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { isRdmaError, type RdmaError } from '../../src/ts/core/errors.js';
import { JobService, type JobStore, lmdbStore } from '../../src/ts/jobs/index.js';
import { within } from '../pipeline/support.js';
import { HeldRunner, numbered, numberOf } from './support.js';

/** What both say. */
export interface FullDisk {
  accepted: string[];
  /** The first refusal. */
  code: string;
  remedy: string;
  freeBytes: number;
  /** How often the store was full for what was accepted, after which it was tried again. */
  fullWarnings: number;
  otherWarnings: string[];
  /** Jobs whose result is that of their request. */
  finished: string[];
}

const MOST = 3000;
const PATIENCE_MS = 40_000;

const [step, folder, elements] = process.argv.slice(2) as ['fill' | 'go-on', string, string];
const said: FullDisk = {
  accepted: [],
  code: '',
  remedy: '',
  freeBytes: 0,
  fullWarnings: 0,
  otherWarnings: [],
  finished: [],
};

function onWarning({ code, message }: RdmaError): void {
  if (code === 'RDMA_ERR_STORE_FULL') said.fullWarnings++;
  else said.otherWarnings.push(`${code}: ${message}`);
}

async function submitUntilRefused(service: JobService, most: number): Promise<void> {
  for (let i = 0; i < most && said.code === ''; i++) {
    try {
      const { id } = await service.submit(numbered(i, Number(elements)), { id: `${step}-${i}` });
      said.accepted.push(id);
    } catch (error) {
      said.code = isRdmaError(error) ? error.code : String(error);
      said.remedy = (isRdmaError(error) && error.remedy) || '';
    }
  }
}

// Somebody else takes all the room there is.
function takeTheRest(path: string): void {
  const file = openSync(path, 'w');
  try {
    for (const bytes of [65_536, 4096]) {
      try {
        for (let i = 0; i < MOST; i++) writeSync(file, Buffer.alloc(bytes, 1));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    }
  } finally {
    closeSync(file);
  }
}

/** What somebody else has on the disk, and removes in the end. */
const BALLAST_BYTES = 2 * 2 ** 20;
const ballast = join(folder, 'ballast');

function freeBytes(): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

async function fill(): Promise<void> {
  writeFileSync(ballast, Buffer.alloc(BALLAST_BYTES, 1));
  const service = await JobService.open({ store: await lmdbStore(folder), runner: new HeldRunner(), onWarning });
  await submitUntilRefused(service, MOST);
  said.freeBytes = freeBytes();
}

// A removal needs some pages of room too, and outcomes may have taken the last ones just now.
async function forget(store: JobStore, id: string): Promise<void> {
  for (;;) {
    try {
      await store.forget(id);
      return;
    } catch (error) {
      if ((error as RdmaError).code !== 'RDMA_ERR_STORE_FULL') throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

async function goOn(): Promise<void> {
  const store = await lmdbStore(folder);
  const runner = new HeldRunner();
  const service = await JobService.open({ store, runner, onWarning });
  const jobs = (await store.list({ limit: 1000 })).map(({ id }) => id);
  const other = join(folder, 'other');
  takeTheRest(other);
  said.freeBytes = freeBytes();
  await submitUntilRefused(service, 1);
  runner.open();
  // Large results have no room now: each of them is tried again.
  await new Promise((resolve) => setTimeout(resolve, 300));
  for (const path of [other, ballast]) rmSync(path);
  for (const id of jobs) {
    const value = numberOf(await within(`job ${id}`, service.job(id).result(), PATIENCE_MS));
    if (id === `fill-${value}`) said.finished.push(id);
    await within(`room to forget ${id}`, forget(store, id), PATIENCE_MS);
  }
  const job = await within('a new one', service.submit(numbered(7, Number(elements)), { id: 'fill-7' }), PATIENCE_MS);
  if (numberOf(await within('its result', job.result(), PATIENCE_MS)) === 7) said.finished.push('new');
  await service.close();
  await store.close();
}

void (step === 'fill' ? fill() : goOn()).then(() => {
  process.stdout.write(`${JSON.stringify(said)}\n`);
  process.exit(0); // at once, as a crash does: nothing is given back
});
