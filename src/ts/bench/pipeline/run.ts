// A whole run: our pipeline and its peers, shape after shape and size after size.
//
// Invariant: who is compared is measured in the same run, in turn for each case; what could not be measured is said
// and never replaced by something else.
import { setMaxListeners } from 'node:events';
import { Device } from '../../verbs/index.js';
import { Beside, type BesideOptions } from '../kit/beside.js';
import type { OpenPipelinePeer, PipelinePeer } from './peer.js';
import { type PipelineFailure, type PipelineResult, resultOf, startResult } from './result.js';
import { checkPipelineSettings, inFlightOf, type PipelinePlan, type PipelineSettings } from './settings.js';
import { measureInSource, startInSource } from './source.js';
import type { Started } from './source-main.js';

export interface PipelineRun {
  results: PipelineResult[];
  /** Name and version of each peer that was measured. */
  peers: Record<string, string>;
  failures: PipelineFailure[];
}

export interface PipelineBenchOptions extends BesideOptions<PipelinePeer> {
  settings: PipelineSettings;
  /** What is being measured now. */
  onStep: (words: string) => void;
  signal: AbortSignal;
}

const START_ROUNDS = 3;
const testOf = ({ task }: PipelinePlan) => (task.do === 'load' ? 'pipeline' : `pipeline-${task.do}`);

/** Every measurement that the settings ask for, besides starts. */
export function plansOf(settings: PipelineSettings): PipelinePlan[] {
  const { shapes, sizes, inFlight, seconds, restMs, idleSeconds, streamPieces, startStages } = settings;
  const tasks: PipelinePlan['task'][] = [];
  if (restMs !== null) tasks.push({ do: 'rest', restMs, seconds });
  if (idleSeconds !== null) tasks.push({ do: 'idle', seconds: idleSeconds });
  for (const pieces of streamPieces) tasks.push({ do: 'stream', pieces, seconds });
  if (tasks.length === 0 && startStages.length === 0) {
    for (const count of inFlight) tasks.push({ do: 'load', inFlight: count, seconds });
  }
  return shapes.flatMap((shape) => sizes.flatMap((sizeBytes) => tasks.map((task) => ({ shape, sizeBytes, task }))));
}

/**
 * Measures.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for the settings, or with the remedy for a peer that is missing;
 *   RDMA_ERR_NO_DEVICE: both before anything is measured; what our own pipeline fails with; RDMA_ERR_ABORTED
 */
export async function benchPipelines(options: PipelineBenchOptions): Promise<PipelineRun> {
  checkPipelineSettings(options.settings);
  Device.open(options.settings.device).close();
  // Each of many processes is awaited with it.
  setMaxListeners(0, options.signal);
  const run = new Run(options);
  try {
    await run.openPeers();
    for (const plan of plansOf(options.settings)) await run.measure(plan);
    for (const stages of options.settings.startStages) await run.start(stages);
    return run.outcome;
  } finally {
    await run.close();
  }
}

class Run {
  readonly outcome: PipelineRun = { results: [], peers: {}, failures: [] };
  private readonly options: PipelineBenchOptions;
  private readonly opened: { peer: PipelinePeer; open: OpenPipelinePeer }[] = [];
  private readonly beside: Beside<PipelinePeer>;

  constructor(options: PipelineBenchOptions) {
    this.options = options;
    this.beside = new Beside(options);
  }

  async openPeers(): Promise<void> {
    const { onStep, signal } = this.options;
    for (const peer of this.beside.present) {
      onStep(`starting ${peer.name}`);
      this.opened.push({ peer, open: await peer.open(signal) });
      this.outcome.peers[peer.name] = this.beside.versions[peer.name]!;
    }
  }

  /** Ours in each mode, then the peers. */
  async measure(plan: PipelinePlan): Promise<void> {
    const { settings, signal } = this.options;
    const { device, views, pollUs } = settings;
    // A chain of streaming stages has one way only.
    for (const mode of plan.task.do === 'stream' ? (['built'] as const) : settings.modes) {
      this.step(plan, mode);
      const measured = await measureInSource({ device, mode, views, pollUs }, plan, signal);
      this.outcome.results.push(resultOf({ peer: null, device, mode, views }, plan, measured));
    }
    for (const { peer, open } of this.opened) {
      if (plan.task.do === 'stream' && !peer.streams) this.beside.note(`without ${peer.name} in ${testOf(plan)}`);
      else if (plan.sizeBytes > peer.maxBytes) this.beside.note(`without ${peer.name} above ${peer.maxBytes} bytes`);
      else await this.measurePeer(peer, open, plan);
    }
  }

  private async measurePeer(peer: PipelinePeer, open: OpenPipelinePeer, plan: PipelinePlan): Promise<void> {
    const { name, medium } = peer;
    this.step(plan, name);
    const { shape, sizeBytes } = plan;
    const inFlight = inFlightOf(plan);
    const test = testOf(plan);
    await this.beside.attempt(
      `${name} has failed in ${test} ${shape} with ${inFlight} x ${sizeBytes} bytes`,
      async () => {
        const measured = await open.measure(plan, this.options.signal);
        this.outcome.results.push(resultOf({ peer: name, device: medium, mode: null, views: null }, plan, measured));
      },
      (reason) => this.outcome.failures.push({ peer: name, test, shape, sizeBytes, inFlight, reason }),
    );
  }

  async start(stages: number): Promise<void> {
    const { settings, onStep, signal } = this.options;
    const rounds: Started[] = [];
    for (let round = 0; round < START_ROUNDS; round++) {
      onStep(`pipeline-start, ${stages} stages: round ${round + 1} of ${START_ROUNDS}`);
      rounds.push(await startInSource(settings.device, stages, signal));
    }
    this.outcome.results.push(startResult(settings.device, stages, rounds));
    for (const { peer } of this.opened)
      this.beside.note(`without ${peer.name} in pipeline-start: only ours is started there`);
  }

  private step(plan: PipelinePlan, who: string): void {
    const { task, shape, sizeBytes } = plan;
    const pieces = task.do === 'stream' ? ` in ${task.pieces} pieces` : '';
    this.options.onStep(`${testOf(plan)} ${shape}, ${inFlightOf(plan)} x ${sizeBytes} bytes${pieces}: ${who}`);
  }

  async close(): Promise<void> {
    for (const { open } of this.opened) await open.close();
  }
}
