// What a gateway tells of the tasks of its requests: to its owner, and to the caller of each.
//
// Invariant: nothing is made where nobody asked. Of a request that is watched from its first task on, each task that
// the result was made from begins and is done once for whoever watches, whatever reports came too late.
import type { InstanceLoad } from './admission.js';
import type { CostModel } from './cost-model.js';
import type { GatewayOptions, TaskEvent } from './gateway-options.js';
import type { Input } from './input.js';
import type { JoinedInputs } from './join.js';
import type { PlaceId } from './plan.js';
import { behindUs } from './progress.js';
import type { ProgressNote } from './progress-note.js';
import { requestName } from './request-name.js';
import type { Ticket } from './ticket.js';

export class TaskEvents {
  private readonly options: GatewayOptions;

  constructor(options: GatewayOptions) {
    this.options = options;
  }

  /** Whether anybody asks what happens to this request. */
  isWatched(ticket: Ticket): boolean {
    return this.options.onTask !== undefined || ticket.onProgress !== undefined || ticket.onTask !== undefined;
  }

  /** Tells of a task. @param stage less than 0: it is no task, and nothing happens */
  tell(type: TaskEvent['type'], ticket: Ticket, stage: number, instance: number, more: Partial<TaskEvent>): void {
    const { onTask, self, incarnation, graph } = this.options;
    if ((onTask === undefined && ticket.onTask === undefined) || stage < 0) return;
    const request = requestName(self.instance, incarnation, ticket.number);
    const event = { type, request, stage: graph.spec.stages[stage]!.name, instance, ...more };
    onTask?.(event);
    ticket.onTask?.(event);
  }

  /**
   * Reports come by other lanes than the result, and those that come after it are dropped. What they would say is
   * known: the tasks that the result was made from have begun and are done.
   *
   * @param unfinished for each stage, the instances that have not reported the task as done
   */
  tellUnreported(ticket: Ticket, unfinished: readonly (readonly InstanceLoad[])[], joined: JoinedInputs): void {
    for (let stage = 0; stage < unfinished.length; stage++) {
      for (const { instance } of unfinished[stage]!) {
        const isSender = (joined.inputs as Input[]).some(
          ({ envelope }) => envelope.fromStage === stage && envelope.fromInstance === instance,
        );
        if (isSender) continue; // told with its own times
        if (ticket.progress?.hasStarted({ stage, instance }) !== true) this.tell('task', ticket, stage, instance, {});
        this.tell('done', ticket, stage, instance, {});
      }
    }
  }

  /** Tells how far a task is, and how long the request may take still. */
  tellProgress(ticket: Ticket, from: PlaceId, note: ProgressNote, nowUs: number, costs: CostModel): void {
    const { graph, self, incarnation } = this.options;
    const behind = behindUs(graph.behind, from.stage, (stage) => ticket.units * costs.unitUs(stage, ticket.costClass));
    const { done, step, preview } = note;
    const remainingUs = ticket.progress?.remainingUs(from, done, nowUs, behind);
    const more = {
      done,
      ...(step === undefined ? {} : { step }),
      ...(preview === undefined ? {} : { preview }),
      ...(remainingUs === undefined ? {} : { remainingMs: remainingUs / 1000 }),
    };
    this.tell('progress', ticket, from.stage, from.instance, more);
    const request = requestName(self.instance, incarnation, ticket.number);
    ticket.onProgress?.({ request, stage: graph.spec.stages[from.stage]!.name, instance: from.instance, ...more });
  }
}
