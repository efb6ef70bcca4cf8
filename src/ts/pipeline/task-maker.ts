// The maker of the tasks of a stage instance, and what each of them asks of it while its handler runs.
//
// Invariant: a task counts the instances that work for its request: those of its plan, or itself alone in a stage of
// spread `either` that is routed.
import type { JoinedInputs } from './join.js';
import type { Place } from './place.js';
import type { ProgressDetails } from './progress-note.js';
import type { Reporter } from './reporter.js';
import { requestName } from './request-name.js';
import { ALL } from './routing.js';
import type { Spread, StageSpec } from './spec.js';
import type { StageEvent } from './stage-instance.js';
import type { StageOutputs } from './stage-outputs.js';
import type { StreamOut } from './stream-output.js';
import type { Task, TaskHost } from './task.js';

/** A task, or one that runs in a batch. */
export type TaskClass<T extends Task> = new (
  host: TaskHost,
  joined: JoinedInputs,
  instance: number,
  instances: number,
) => T;

export class TaskMaker implements TaskHost {
  readonly stageName: string;
  readonly pool: Place['pool'];
  readonly inlineBytes: number;
  private readonly place: Place;
  private readonly reporter: Reporter;
  private readonly outputs: StageOutputs;
  private readonly stage: StageSpec;
  private readonly onEvent: ((event: StageEvent) => void) | undefined;

  constructor(
    place: Place,
    reporter: Reporter,
    outputs: StageOutputs,
    onEvent: ((event: StageEvent) => void) | undefined,
  ) {
    const { graph, self } = place.options;
    this.place = place;
    this.reporter = reporter;
    this.outputs = outputs;
    this.stage = graph.spec.stages[self.stage]!;
    this.stageName = this.stage.name;
    this.pool = place.pool;
    this.inlineBytes = place.sizes.inlineBytes;
    this.onEvent = onEvent;
  }

  /** The task of inputs that are complete. */
  make<T extends Task>(Made: TaskClass<T>, joined: JoinedInputs): T {
    const { stage, instance } = this.place.options.self;
    const instances = joined.plan.instances[stage]!;
    const isWhole = this.stage.spread === 'either' && joined.route[stage] !== ALL;
    return new Made(this, joined, isWhole ? 0 : instances.indexOf(instance), isWhole ? 1 : instances.length);
  }

  nowUs(): number {
    return this.place.nowUs();
  }

  receiversOf(joined: JoinedInputs): readonly string[] {
    return this.place.receiversOf(joined.plan, joined.ledger.gateway, joined.route);
  }

  spreadOf(joined: JoinedInputs): Spread {
    return joined.route[this.place.options.self.stage] === ALL ? 'shard' : 'route';
  }

  openStream(joined: JoinedInputs, task: Task): StreamOut {
    return this.outputs.openStream(joined, task);
  }

  progress(joined: JoinedInputs, done: number, details: ProgressDetails | undefined): void {
    if (joined.state !== 'running') return;
    const share = Math.min(1, Math.max(0, Number(done) || 0));
    const { gateway, gatewayRun } = joined.ledger;
    const request = requestName(gateway, gatewayRun, joined.ticket);
    this.onEvent?.({ type: 'progress', request, done: share, ...details });
    this.reporter.progress(joined, share, details);
  }
}
