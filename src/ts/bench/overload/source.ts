// A measurement in a process of its own, as the command sees it.
//
// Invariant: the process is gone when measureOverload() has ended, and its children with it.
import { join } from 'node:path';
import { Partner } from '../kit/partner.js';
import type { OverloadSettings } from './settings.js';
import type { SourceRequest } from './source-main.js';

/** To open a subject, to warm it up, to end what is under way, and to close it. */
const AROUND_MS = 180_000;
/** A test has two windows at most, each behind two deadlines. */
const WINDOWS = 2;
const DEADLINES = 4;

/**
 * Measures our own pipeline.
 *
 * @throws as askSource()
 */
export function measureOverload<Answer>(request: SourceRequest, signal?: AbortSignal): Promise<Answer> {
  return askSource<Answer>(join(__dirname, 'source-main.js'), request, request.settings, signal);
}

/**
 * Asks the program of a measurement, in a process of its own.
 *
 * @param file the compiled program
 * @param settings of the measurement: they bound its time
 * @throws RdmaError RDMA_ERR_PEER_GONE with the words of what failed; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
 */
export async function askSource<Answer>(
  file: string,
  request: object,
  { seconds, deadlineMs }: OverloadSettings,
  signal?: AbortSignal,
): Promise<Answer> {
  const timeoutMs = AROUND_MS + WINDOWS * (seconds * 1000 + DEADLINES * deadlineMs);
  const partner = new Partner(file);
  try {
    return await partner.ask<Answer>(request, signal, timeoutMs);
  } finally {
    await partner.end();
  }
}
