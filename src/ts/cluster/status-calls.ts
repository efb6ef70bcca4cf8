// Status questions to a worker process, and their answers.
//
// Invariant: each question ends once: by its answer, or after a second without one. An answer that came while this
// process did not run counts: timers that are late are called before what has come is read.
import type { StageInstanceStatus } from '../pipeline/index.js';

const STATUS_MS = 1000;

export class StatusCalls {
  private asked = 0;
  private readonly waiting = new Map<number, (status: StageInstanceStatus) => void>();

  /**
   * Asks one process.
   *
   * @param send sends the question with this number
   * @returns what it answers; undefined when it does not
   */
  ask(send: (id: number) => void): Promise<StageInstanceStatus | undefined> {
    const id = ++this.asked;
    return new Promise((resolve) => {
      const end = (status?: StageInstanceStatus) => {
        clearTimeout(timer);
        this.waiting.delete(id);
        resolve(status);
      };
      const timer = setTimeout(() => setImmediate(end), STATUS_MS);
      this.waiting.set(id, end);
      send(id);
    });
  }

  /** An answer came; nobody may wait for it any more. */
  answer(id: number, status: StageInstanceStatus): void {
    this.waiting.get(id)?.(status);
  }
}
