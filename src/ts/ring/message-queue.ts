// The queue of an inbox without onMessage, for callers that iterate.
//
// Invariant: messages come out in the order of delivery, each to one taker; takers are served in the order in which
// they came.
import type { InboxMessage } from './message.js';

export class MessageQueue {
  private readonly messages: InboxMessage[] = [];
  private readonly takers: ((result: IteratorResult<InboxMessage>) => void)[] = [];
  private closed = false;
  private readonly onWait: () => void;

  /** @param onWait called when somebody begins to wait for a message */
  constructor(onWait: () => void) {
    this.onWait = onWait;
  }

  /** True while somebody waits for a message. */
  get isAwaited(): boolean {
    return this.takers.length > 0;
  }

  /** Messages that nobody has taken. */
  get length(): number {
    return this.messages.length;
  }

  put(message: InboxMessage): void {
    const taker = this.takers.shift();
    if (taker !== undefined) taker({ done: false, value: message });
    else this.messages.push(message);
  }

  /** An iterator; several share the messages. */
  iterate(): AsyncIterator<InboxMessage> {
    return {
      next: () => {
        const message = this.messages.shift();
        if (message !== undefined) return Promise.resolve({ done: false, value: message });
        if (this.closed) return Promise.resolve({ done: true, value: undefined });
        return new Promise((resolve) => {
          this.takers.push(resolve);
          this.onWait();
        });
      },
      return: () => Promise.resolve({ done: true, value: undefined }),
    };
  }

  /** No message comes after those that are here. */
  end(): void {
    this.closed = true;
  }

  /** Forgets what is here; everybody who waits has the end. */
  clear(): void {
    this.messages.length = 0;
    for (const taker of this.takers.splice(0)) taker({ done: true, value: undefined });
  }
}
