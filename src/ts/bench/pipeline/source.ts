// A measurement in a process of its own, as the command sees it.
//
// Invariant: when measureIn(), measureInSource() or startInSource() has ended, the process and its children are gone.
import { join } from 'node:path';
import { Partner } from '../kit/partner.js';
import { MAX_WARM_UP_MS, SETTLE_MS } from './load.js';
import { limitMs, type PipelinePlan } from './settings.js';
import type { OwnSubject, SourceRequest, Started } from './source-main.js';
import type { Measured } from './subject.js';

const SOURCE = join(__dirname, 'source-main.js');
/** To open a subject, to end the requests under way, and to close it. */
const OPEN_AND_CLOSE_MS = 120_000;

/**
 * Measures our own pipeline.
 *
 * @throws as measureIn()
 */
export function measureInSource(subject: OwnSubject, plan: PipelinePlan, signal?: AbortSignal): Promise<Measured> {
  const request: SourceRequest = { do: 'measure', subject, plan };
  return measureIn(SOURCE, request, plan, signal);
}

/** Starts our own pipeline of so many stages once. @throws as measureIn() */
export function startInSource(device: string, stages: number, signal?: AbortSignal): Promise<Started> {
  const request: SourceRequest = { do: 'start', device, stages };
  return ask<Started>(SOURCE, request, OPEN_AND_CLOSE_MS, signal);
}

/**
 * Measures a pipeline that a Node.js process drives.
 *
 * @param file the compiled program of that process, which answers with what measureSubject() does
 * @param request what the process gets
 * @param plan bounds its time
 * @throws RdmaError RDMA_ERR_PEER_GONE with the words of what failed; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
 */
export function measureIn(file: string, request: object, plan: PipelinePlan, signal?: AbortSignal): Promise<Measured> {
  const timeoutMs = OPEN_AND_CLOSE_MS + MAX_WARM_UP_MS + SETTLE_MS + limitMs(plan);
  return ask<Measured>(file, request, timeoutMs, signal);
}

async function ask<Answer>(file: string, request: object, timeoutMs: number, signal?: AbortSignal): Promise<Answer> {
  const partner = new Partner(file);
  try {
    return await partner.ask<Answer>(request, signal, timeoutMs);
  } finally {
    await partner.end();
  }
}
