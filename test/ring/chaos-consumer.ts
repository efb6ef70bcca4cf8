// The consumer of a chaos run. Invariant: it may be stopped or killed at any instruction; a message is acknowledged
// only after it was found whole and that was written down; what it holds is looked at again before it is released.
import { appendFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { InboxMessage, RdmaError } from '../../src/ts/ring/index.js';
import { identityWord, Ledger, What } from './chaos-ledger.js';
import { handlingOf, hash, MAX_PULLED_BYTES, whatIsWrong } from './chaos-plan.js';
import { leftBehind, openNow } from './leftovers.js';
import { openInbox } from './support.js';

export interface ChaosConsumerArgs {
  folder: string;
  seed: number;
  incarnation: number;
  producers: number;
}

const PULL_TIMEOUT_MS = 10 * 60_000;
const HELD_MESSAGES = 24;

interface Held {
  message: InboxMessage;
  acknowledged: boolean;
  released: boolean;
}

class Consumer {
  /** The inbox is being closed: views that are held may be taken away. */
  closing = false;
  ended = false;
  private readonly args: ChaosConsumerArgs;
  private readonly ledger: Ledger;
  private held: Held[] = [];
  private draws = 0;

  constructor(args: ChaosConsumerArgs) {
    this.args = args;
    this.ledger = new Ledger(args.folder, `consumer-${args.incarnation}`);
  }

  private note(what: number, message: InboxMessage): void {
    const [producer, incarnation] = this.origin(message);
    this.ledger.write(what, producer, incarnation, message.sequence, identityWord(message.producer));
  }

  private origin({ from }: InboxMessage): [number, number] {
    const [producer, incarnation] = from.slice(1).split('.').map(Number);
    return [producer!, incarnation!];
  }

  private wrong(message: InboxMessage, words: string): void {
    this.note(What.WRONG, message);
    const line = `consumer ${this.args.incarnation}: ${message.from} ${message.sequence}: ${words}\n`;
    appendFileSync(path.join(this.args.folder, 'problems'), line);
  }

  private check(message: InboxMessage, when: string): boolean {
    const words = whatIsWrong(this.args.seed, ...this.origin(message), message.sequence, message.bytes);
    if (words !== undefined) this.wrong(message, `${when}: ${words}`);
    return words === undefined;
  }

  readonly take = (message: InboxMessage): void => {
    this.note(What.ARRIVED, message);
    if (message.isPulled) {
      message.release();
      void this.pull(message);
      return;
    }
    if (!this.check(message, 'at arrival')) return;
    this.note(What.WHOLE, message);
    const handling = handlingOf(this.args.seed, ...this.origin(message), message.sequence);
    if (handling === 'done') {
      message.done();
      return;
    }
    if (handling === 'acknowledge first') message.acknowledge();
    if (handling === 'release first') message.release();
    this.held.push({
      message,
      acknowledged: handling === 'acknowledge first',
      released: handling === 'release first',
    });
    while (this.held.length > HELD_MESSAGES) this.letGo();
  };

  private async pull(message: InboxMessage): Promise<void> {
    try {
      await message.pull(undefined, { timeoutMs: PULL_TIMEOUT_MS });
    } catch (error) {
      const { code } = error as RdmaError;
      // Its producer was killed, or this inbox is closed.
      if (code !== 'RDMA_ERR_CLOSED') this.wrong(message, String(error));
      return;
    }
    if (!this.check(message, 'pulled')) return;
    this.note(What.WHOLE, message);
    message.acknowledge();
  }

  // Any of those that are held, in any order.
  private letGo(): void {
    const at = hash(this.args.seed, this.args.incarnation, this.draws++) % this.held.length;
    const [entry] = this.held.splice(at, 1);
    const { message, acknowledged, released } = entry!;
    if (this.closing && message.bytes.length < message.length) return;
    // The views of a lane that was fenced stay, whatever its producer does.
    if (!released && !this.check(message, 'while it was held')) return;
    if (!acknowledged) message.acknowledge();
    if (!released) message.release();
  }

  /** Called now and then, so that nothing is held for ever. */
  letSomeGo(): void {
    for (let left = Math.ceil(this.held.length / 2); left > 0; left--) this.letGo();
  }

  close(): void {
    this.ended = true;
    this.ledger.close();
  }
}

async function main(args: ChaosConsumerArgs): Promise<void> {
  const { folder, incarnation } = args;
  const before = openNow();
  const consumer = new Consumer(args);
  const usesLoop = incarnation % 3 === 2;
  const inbox = await openInbox({
    maxLanes: 2 * args.producers + 2,
    maxPullBytes: MAX_PULLED_BYTES,
    ...(usesLoop ? { wait: 'busy' } : { wait: incarnation % 2 === 0 ? 'adaptive' : 'event', onMessage: consumer.take }),
  });
  const timer = setInterval(() => consumer.letSomeGo(), 3);
  const loop = () => {
    if (consumer.ended) return;
    try {
      inbox.poll((lane) => consumer.take(lane.message()));
    } catch (error) {
      if ((error as RdmaError).code !== 'RDMA_ERR_CLOSED') throw error;
      return;
    }
    setImmediate(loop);
  };
  if (usesLoop) loop();
  const end = async (ending: Promise<void>) => {
    consumer.closing = true;
    await ending;
    clearInterval(timer);
    consumer.close();
    process.send?.({ closed: inbox.counters, lanes: inbox.laneCount, left: await leftBehind(before) });
    process.disconnect();
  };
  process.on('message', (word) => {
    if (word === 'drain') void end(inbox.drain(2000));
    else void end(inbox.close());
  });
  // Renamed into its place: a producer never reads half of it.
  const portFile = path.join(folder, 'port');
  writeFileSync(`${portFile}.${incarnation}`, String(inbox.bootstrap.port));
  renameSync(`${portFile}.${incarnation}`, portFile);
  process.send?.({ listening: inbox.bootstrap.port });
}

if (require.main === module) {
  process.on('disconnect', () => {
    setTimeout(() => process.exit(3), 5000).unref();
  });
  main(JSON.parse(process.argv[2] as string) as ChaosConsumerArgs).catch((error: Error) => {
    console.error(error);
    process.exit(1);
  });
}
