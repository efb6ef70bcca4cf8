// Requests that may have ended their process: each runs alone, so that the next death names the guilty one.
//
// Invariant: while the task of a suspect runs, no other task runs beside it; all others run together as before.
import { requestName } from './request-name.js';
import type { RequestAttempt } from './task-board.js';

/** A task, as far as it matters here. */
interface Candidate {
  readonly ledger: { readonly gateway: number; readonly gatewayRun: number };
  readonly ticket: number;
}

/** Of one stage instance. */
export class Suspects {
  private names = new Set<string>();
  private alone: Candidate | undefined; // a suspect that runs

  /** These are suspects from now on, and no others. */
  set(requests: readonly RequestAttempt[]): void {
    this.names = new Set(requests.map(({ gateway, gatewayRun, ticket }) => requestName(gateway, gatewayRun, ticket)));
  }

  /**
   * Whether a task may begin now.
   *
   * @param running tasks that run
   */
  mayBegin(task: Candidate, running: number): boolean {
    if (this.alone !== undefined) return false;
    return running === 0 || !this.has(task);
  }

  /** The task begins. */
  begins(task: Candidate): void {
    if (this.has(task)) this.alone = task;
  }

  /** The task has ended. */
  ended(task: Candidate): void {
    if (this.alone === task) this.alone = undefined;
  }

  /** True for a suspect. */
  has({ ledger, ticket }: Candidate): boolean {
    return this.names.size > 0 && this.names.has(requestName(ledger.gateway, ledger.gatewayRun, ticket));
  }
}
