// Checks what producer processes send: every byte, and the order within each incarnation.
import type { InboxMessage } from '../../src/ts/ring/index.js';
import { hasContent } from './support.js';

export class Collector {
  /** Numbers that came, by the name of the producer. */
  readonly numbers = new Map<string, Set<number>>();
  readonly problems: string[] = [];
  lastNumber = 0;
  private readonly last = new Map<string, number>();

  /** Takes a message in; answers what is wrong with it, or undefined. */
  take(message: InboxMessage): string | undefined {
    const { from, producer, sequence, bytes } = message;
    const before = this.last.get(producer);
    this.last.set(producer, sequence);
    let problem: string | undefined;
    if (before !== undefined && sequence !== before + 1) problem = `${from}: ${sequence} came after ${before}`;
    const head = new Uint32Array(bytes.slice(0, 8).buffer);
    const [number = 0, salt = 0] = head;
    if (!hasContent(bytes.subarray(8), number ^ salt)) problem = `${from}: message ${number} has other bytes`;
    this.lastNumber = number;
    const set = this.numbers.get(from) ?? new Set();
    this.numbers.set(from, set);
    set.add(number);
    if (problem !== undefined) this.problems.push(problem);
    return problem;
  }

  count(from: string): number {
    return this.numbers.get(from)?.size ?? 0;
  }
}
