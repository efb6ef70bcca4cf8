// The process that makes the requests of one measurement: of our own pipeline, or of a peer in Node.js.
//
// Invariant: a process for each measurement, so nobody pays for what another one has loaded or left in memory;
// everything that it opened is closed before it answers.
import { performance } from 'node:perf_hooks';
import { LocalPipeline } from '../../cluster/index.js';
import { serveParent } from '../partner.js';
import { Load } from './load.js';
import { LocalSubject } from './local-subject.js';
import { MessengerSubject } from './messenger-subject.js';
import { StreamSubject } from './stream-subject.js';
import { memoryOf, treeOf } from './processes.js';
import { inFlightOf, type Mode, type PipelinePlan, restsWithin, STAGES_VARIABLE } from './settings.js';
import type { Measured, Subject } from './subject.js';

/** Whose pipeline it is. */
export type SubjectSpec =
  | { who: 'onepiece'; device: string; mode: Mode; views: boolean; pollUs: number | null }
  /** `folder`: for its sockets. */
  | { who: 'messenger'; name: string; folder: string };

export type SourceRequest =
  | { do: 'measure'; subject: SubjectSpec; plan: PipelinePlan }
  | { do: 'start'; device: string; stages: number };

export interface Started {
  startMs: number;
  rssKib: number;
  pssKib: number;
}

function openSubject(spec: SubjectSpec, plan: PipelinePlan): Promise<Subject> {
  const { shape, sizeBytes } = plan;
  if (spec.who === 'messenger') {
    return MessengerSubject.open(spec.name, spec.folder, shape, sizeBytes);
  }
  const { device, mode, views, pollUs } = spec;
  if (plan.task.do === 'stream') {
    return StreamSubject.open({ device, views, pollUs, sizeBytes, pieces: plan.task.pieces });
  }
  return LocalSubject.open({ device, shape, mode, views, pollUs, sizeBytes, inFlight: inFlightOf(plan) });
}

async function measure(spec: SubjectSpec, plan: PipelinePlan): Promise<Measured> {
  const subject = await openSubject(spec, plan);
  try {
    const load = new Load(subject, plan.sizeBytes);
    const { task } = plan;
    load.start(inFlightOf(plan));
    await load.warmUp();
    if (task.do === 'load' || task.do === 'stream') {
      const measured = await load.measure(process.pid, task.seconds);
      await load.stop();
      return measured;
    }
    await load.stop();
    if (task.do === 'rest') {
      return await load.rest(process.pid, task.restMs, restsWithin(task.seconds, task.restMs));
    }
    return await load.idle(process.pid, task.seconds);
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
