// A measurement in a process of its own, as the command sees it.
//
// Invariant: the process is gone when measureInSource() or startInSource() has ended, and its children with it.
import { join } from 'node:path';
import { Partner } from '../partner.js';
import { MAX_WARM_UP_MS, SETTLE_MS } from './load.js';
import { limitMs, type PipelinePlan } from './settings.js';
import type { SourceRequest, Started, SubjectSpec } from './source-main.js';
import type { Measured } from './subject.js';

/** To open a subject, to end the requests under way, and to close it. */
const OPEN_AND_CLOSE_MS = 120_000;

/**
 * Measures a pipeline that a Node.js process drives.
 *
 * @throws RdmaError RDMA_ERR_PEER_GONE with the words of what failed; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
 */
export function measureInSource(subject: SubjectSpec, plan: PipelinePlan, signal?: AbortSignal): Promise<Measured> {
  const timeoutMs = OPEN_AND_CLOSE_MS + MAX_WARM_UP_MS + SETTLE_MS + limitMs(plan);
  return ask<Measured>({ do: 'measure', subject, plan }, timeoutMs, signal);
}

/** Starts our own pipeline of so many stages once. @throws as measureInSource() */
export function startInSource(device: string, stages: number, signal?: AbortSignal): Promise<Started> {
  return ask<Started>({ do: 'start', device, stages }, OPEN_AND_CLOSE_MS, signal);
}

async function ask<Answer>(request: SourceRequest, timeoutMs: number, signal?: AbortSignal): Promise<Answer> {
  const partner = new Partner(join(__dirname, 'source-main.js'));
  try {
    return await partner.ask<Answer>(request, signal, timeoutMs);
  } finally {
    await partner.end();
  }
}
