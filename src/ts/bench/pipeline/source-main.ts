// The process that makes the requests of one measurement of our own pipeline.
//
// Invariant: a process for each measurement, so nobody pays for what another one has loaded or left in memory;
// everything that it opened is closed before it answers.
import { performance } from 'node:perf_hooks';
import { LocalPipeline } from '../../cluster/index.js';
import { serveParent } from '../kit/partner.js';
import { LocalSubject } from './local-subject.js';
import { measureSubject } from './measure.js';
import { StreamSubject } from './stream-subject.js';
import { memoryOf, treeOf } from '../kit/processes.js';
import { inFlightOf, type Mode, type PipelinePlan, STAGES_VARIABLE } from './settings.js';
import type { Measured, Subject } from './subject.js';

/** How our pipeline is measured. */
export interface OwnSubject {
  device: string;
  mode: Mode;
  views: boolean;
  pollUs: number | null;
}

export type SourceRequest =
  | { do: 'measure'; subject: OwnSubject; plan: PipelinePlan }
  | { do: 'start'; device: string; stages: number };

export interface Started {
  startMs: number;
  rssKib: number;
  pssKib: number;
}

function openSubject({ device, mode, views, pollUs }: OwnSubject, plan: PipelinePlan): Promise<Subject> {
  const { shape, sizeBytes, task } = plan;
  if (task.do === 'stream') return StreamSubject.open({ device, views, pollUs, sizeBytes, pieces: task.pieces });
  return LocalSubject.open({ device, shape, mode, views, pollUs, sizeBytes, inFlight: inFlightOf(plan) });
}

async function measure(spec: OwnSubject, plan: PipelinePlan): Promise<Measured> {
  const subject = await openSubject(spec, plan);
  try {
    return await measureSubject(subject, plan);
  } finally {
    await subject.close();
  }
}

async function start(device: string, stages: number): Promise<Started> {
  process.env[STAGES_VARIABLE] = String(stages);
  const { startWorkflow } = await import('./start-workflow.js');
  const begin = performance.now();
  const pipeline = await LocalPipeline.start(startWorkflow, { device });
  const startMs = performance.now() - begin;
  try {
    return { startMs, ...memoryOf(treeOf(process.pid)) };
  } finally {
    await pipeline.close();
  }
}

serveParent<SourceRequest>((request) =>
  request.do === 'measure' ? measure(request.subject, request.plan) : start(request.device, request.stages),
);
