// One run of a whole pipeline in a simulated world, with everything that must hold checked.
//
// Invariant: a run that ends without a word in `broken` has kept every property of docs/pipeline-simulation.md; one
// with a word names the command that repeats it.
import { checkSpec, graphOf } from '../../src/ts/pipeline/index.js';
import type { Choices } from '../../src/ts/sim/choices.js';
import { SimWorld } from '../../src/ts/sim/world.js';
import { catching } from './catching.js';
import { Client } from './pipeline-client.js';
import { Faults } from './pipeline-faults.js';
import type { PipelineShape } from './pipeline-shape.js';
import { Supervisor } from './pipeline-supervisor.js';
import { stageName, Work } from './pipeline-work.js';

/** How long everything may take after the last fault, in virtual ms: longer than any time-out below. */
const LIVENESS_MS = 60_000;
const MAX_STEPS = 500_000;
/** Of tensors in one message: pools have room for at least 8 of them. */
const MAX_BYTES = 2 ** 14;
/** Likewise of a whole stream; pools have room for at least 4 of them. */
const MAX_STREAM_BYTES = 3 * 2 ** 13;

export interface PipelineVerdict {
  broken: string[];
  steps: number;
  virtualMs: number;
  tasks: number;
  /** How requests have ended. */
  outcomes: Record<string, number>;
  /** What went wrong on purpose. */
  faults: string[];
}

class PipelineRun {
  private readonly world: SimWorld;
  private readonly work: Work;
  private readonly client: Client;
  private readonly supervisor: Supervisor;
  private readonly faults: Faults;

  constructor(choices: Choices, shape: PipelineShape) {
    const { copier, tearShare, pollBatch } = shape;
    const weakOrder = shape.weakOrder && copier === 'device';
    this.world = new SimWorld(choices, { copier, tearShare, weakOrder, pollBatch, oneWriter: true });
    const { world } = this;
    const { requests, faultCount } = shape;
    const ending = requests.filter(({ fails }) => fails?.how === 'ends').length;
    // So many that no request fails for deaths that others are guilty of: shards may end together, and again when a
    // place is given up.
    const attempts = 3 + faultCount + 3 * ending * (1 + faultCount);
    const stages = shape.stages.map(({ after, spread, instances, concurrency, batch, pieces, streams }, i) => ({
      name: stageName(i),
      after: after.map((before) => (before < 0 ? 'request' : stageName(before))),
      spread,
      instances,
      concurrency,
      attempts,
      ...(batch === undefined ? {} : { batch: { size: batch.size, waitMs: batch.waitMs } }),
      maxOutputBytes: (pieces ?? 0) > 0 ? MAX_STREAM_BYTES : MAX_BYTES,
      maxPieces: pieces ?? 0,
      streams: (streams ?? []).map(stageName),
    }));
    const graph = graphOf(checkSpec({ name: 'simulated', maxRequestBytes: MAX_BYTES, stages }));
    this.work = new Work(world, shape);
    this.client = new Client(world, shape, this.work);
    this.supervisor = new Supervisor({ world, shape, graph, work: this.work });
    this.supervisor.onGateway = (gateway) => this.client.begin(gateway);
    this.faults = new Faults(world, shape, this.supervisor);
    this.faults.onCancel = () => this.client.cancel();
    this.work.onDone = (joined, stage, instance) => {
      const { gateway, gatewayRun } = joined.ledger;
      for (const each of this.supervisor.processes()) {
        if (each.id.stage === -1 && each.id.instance === gateway && each.incarnation === gatewayRun) {
          each.taskEnded(joined, `${stageName(stage)}/${instance}`);
        }
      }
    };
    this.work.onEnds = (process) => this.faults.ended(process);
    world.onStep = () => this.faults.step();
  }

  async play(): Promise<PipelineVerdict> {
    const { world, supervisor, faults } = this;
    await catching(world, async () => {
      supervisor.start();
      await world.scheduler.run(
        () => world.broken.length > 0 || this.leftover === undefined || this.isLate(),
        Infinity,
      );
      if (world.broken.length === 0 && this.leftover !== undefined) {
        const { steps, nowMs } = world.scheduler;
        world.broken.push(`deadlock: ${this.leftover}, at ${nowMs.toFixed(3)} ms, step ${steps}`);
        for (const process of supervisor.processes()) world.broken.push(...process.situation);
      }
      if (world.broken.length === 0) await this.tearDown();
    });
    const { steps, nowMs } = world.scheduler;
    const { outcomes } = this.client;
    return { broken: world.broken, steps, virtualMs: nowMs, tasks: this.work.tasks, outcomes, faults: faults.said };
  }

  // What has to happen yet, in words; undefined: all has ended, and nothing is left of it.
  private get leftover(): string | undefined {
    const { openCount } = this.client;
    this.faults.dropPlanned(openCount === 0);
    if (openCount > 0) return `${openCount} requests have not ended`;
    return this.faults.leftover ?? this.supervisor.leftover;
  }

  private isLate(): boolean {
    const { steps, nowMs } = this.world.scheduler;
    return nowMs > this.faults.lastMs + LIVENESS_MS || steps > MAX_STEPS;
  }

  // Everything is closed, and nothing stays open on any device.
  private async tearDown(): Promise<void> {
    const { world, supervisor, faults } = this;
    faults.end();
    const processes = [...supervisor.processes()];
    let closed = 0;
    for (const { process, gateway, stage } of processes) {
      process.later(0, () => {
        (gateway ?? stage)!.close().then(
          () => closed++,
          (error: unknown) => world.broken.push(`${process.name} cannot be closed: ${String(error)}`),
        );
      });
    }
    const done = await world.scheduler.run(() => closed === processes.length, world.scheduler.nowMs + LIVENESS_MS);
    if (!done) world.broken.push('close() does not end');
    for (const device of world.devices) {
      if (device.process.state === 'dead' || device.objects.size === 0) continue;
      const names = [...device.objects].map((object) => object.constructor.name);
      world.broken.push(`${device.process.name} has left ${names.join(', ')}`);
    }
  }
}

/** Plays one run. */
export function playPipeline(choices: Choices, shape: PipelineShape): Promise<PipelineVerdict> {
  return new PipelineRun(choices, shape).play();
}
