// What each process of a chaos run writes down, and the exact check of all of it.
//
//   record, 16 bytes   | what | producer << 16 | incarnation | sequence | first word of the producer's identity |
//
// Invariant: a record is written by one system call before its writer goes on, into a file, so it survives SIGKILL; a
// torn last one counts as not written, as its writer had not gone on. A producer writes INTENT before it sends, and
// ACKNOWLEDGED when it sees the acknowledgement; a consumer writes ARRIVED when it gets a message, and WHOLE before it
// acknowledges.
import { closeSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { howSent } from './chaos-plan.js';

export const What = { INTENT: 1, ACKNOWLEDGED: 2, FINISHED: 3, ARRIVED: 4, WHOLE: 5, WRONG: 6 } as const;
export const RECORD_BYTES = 16;

export class Ledger {
  private readonly fd: number;
  private readonly words = new Uint32Array(4);
  private readonly bytes = new Uint8Array(this.words.buffer);

  constructor(folder: string, name: string) {
    this.fd = openSync(path.join(folder, `${name}.ledger`), 'ax');
  }

  write(what: number, producer: number, incarnation: number, sequence: number, identity: number): void {
    const { words } = this;
    words[0] = what;
    words[1] = (producer << 16) | incarnation;
    words[2] = sequence;
    words[3] = identity;
    if (writeSync(this.fd, this.bytes) !== RECORD_BYTES) throw new Error('the ledger is full');
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** The first word of an identity. */
export const identityWord = (identity: string): number => Number.parseInt(identity.slice(0, 8), 16);

/** What became of one incarnation of a producer. */
interface Account {
  name: string;
  producer: number;
  incarnation: number;
  identity: number;
  intended: number;
  acknowledged: number;
  finished: number | undefined;
  /** Everything up to here has arrived somewhere. */
  prefix: number;
  /** By sequence: 1 when it was whole somewhere. */
  whole: Uint8Array;
}

export interface Verdict {
  problems: string[];
  producers: number;
  consumers: number;
  intended: number;
  acknowledged: number;
  arrived: number;
  /** Arrived at more than one incarnation of the consumer. */
  again: number;
}

function readRecords(folder: string, file: string): Uint32Array {
  const buffer = readFileSync(path.join(folder, file));
  const count = Math.floor(buffer.length / RECORD_BYTES);
  return new Uint32Array(buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + count * RECORD_BYTES));
}

const numberOf = (file: string) => Number(/(\d+)\.ledger$/.exec(file)?.[1]);

class Checker {
  readonly problems: string[] = [];
  readonly accounts = new Map<number, Account>();
  arrived = 0;
  again = 0;
  private readonly seed: number;

  constructor(seed: number) {
    this.seed = seed;
  }

  say(problem: string): void {
    if (this.problems.length < 50) this.problems.push(problem);
  }

  private isGivenUp(account: Account, sequence: number): boolean {
    return howSent(this.seed, account.producer, account.incarnation, sequence) === 'abort';
  }

  /** The next sequence that is delivered after `sequence`. */
  private nextAfter(account: Account, sequence: number): number {
    let next = sequence + 1;
    while (this.isGivenUp(account, next)) next++;
    return next;
  }

  addProducer(records: Uint32Array): void {
    if (records.length === 0) return;
    const key = records[1]!;
    const producer = key >>> 16;
    const incarnation = key & 0xffff;
    const name = `p${producer}.${incarnation}`;
    let intended = 0;
    let acknowledged = 0;
    let finished: number | undefined;
    for (let i = 0; i < records.length; i += 4) {
      const sequence = records[i + 2]!;
      if (records[i] === What.INTENT) {
        if (sequence !== intended + 1) this.say(`${name}: sends ${sequence} after ${intended}`);
        intended = sequence;
      } else if (records[i] === What.ACKNOWLEDGED) {
        if (sequence <= acknowledged) this.say(`${name}: saw acknowledgement ${sequence} after ${acknowledged}`);
        if (sequence > intended) this.say(`${name}: saw acknowledgement ${sequence} of ${intended} sent`);
        acknowledged = sequence;
      } else finished = sequence;
    }
    const whole = new Uint8Array(intended + 1);
    const identity = records[3]!;
    this.accounts.set(key, {
      name,
      producer,
      incarnation,
      identity,
      intended,
      acknowledged,
      finished,
      prefix: 0,
      whole,
    });
  }

  addConsumer(consumer: number, records: Uint32Array): void {
    const last = new Map<number, number>();
    const wholeHere = new Set<string>();
    for (let i = 0; i < records.length; i += 4) {
      const [what = 0, key = 0, sequence = 0, identity = 0] = records.subarray(i, i + 4);
      const account = this.accounts.get(key);
      const words = `consumer ${consumer}: message ${sequence} of ${account?.name ?? key.toString(16)}`;
      if (account === undefined || account.identity !== identity || sequence > account.intended || sequence === 0) {
        this.say(`${words} was never sent`);
      } else if (what === What.ARRIVED) {
        this.arrived++;
        const before = last.get(key);
        if (this.isGivenUp(account, sequence)) this.say(`${words} was given up`);
        if (before !== undefined && sequence !== this.nextAfter(account, before)) this.say(`${words} after ${before}`);
        if (before === undefined && sequence > this.nextAfter(account, account.prefix)) {
          this.say(`${words} came first, and only up to ${account.prefix} had come before`);
        }
        if (sequence <= account.prefix) this.again++;
        last.set(key, sequence);
        account.prefix = Math.max(account.prefix, sequence);
      } else if (what === What.WHOLE) {
        const mark = `${key}.${sequence}`;
        if (sequence > (last.get(key) ?? 0)) this.say(`${words} is whole before it arrived`);
        if (wholeHere.has(mark)) this.say(`${words} is whole twice`);
        wholeHere.add(mark);
        account.whole[sequence] = 1;
      } else this.say(`${words} is not what was sent`);
    }
  }

  /** Acknowledged messages were delivered, whole; a producer that has finished saw everything acknowledged. */
  finish(): void {
    for (const account of this.accounts.values()) {
      const { name, acknowledged, intended, finished, whole } = account;
      for (let sequence = 1; sequence <= acknowledged; sequence++) {
        if (whole[sequence] === 1 || this.isGivenUp(account, sequence)) continue;
        this.say(`${name}: ${sequence} is acknowledged (up to ${acknowledged}) and was not delivered`);
        break;
      }
      if (finished !== undefined && (finished !== intended || acknowledged !== intended)) {
        this.say(`${name}: has finished with ${acknowledged} of ${intended} acknowledged`);
      }
    }
  }
}

/** Reads all ledgers of a run and checks them against each other. */
export function judge(folder: string, seed: number): Verdict {
  const checker = new Checker(seed);
  const files = readdirSync(folder).filter((file) => file.endsWith('.ledger'));
  const consumers = files.filter((file) => file.startsWith('consumer')).sort((a, b) => numberOf(a) - numberOf(b));
  for (const file of files) if (file.startsWith('producer')) checker.addProducer(readRecords(folder, file));
  for (const [i, file] of consumers.entries()) checker.addConsumer(i, readRecords(folder, file));
  checker.finish();
  const accounts = [...checker.accounts.values()];
  const sum = (of: (account: Account) => number) => accounts.reduce((total, account) => total + of(account), 0);
  return {
    problems: checker.problems,
    producers: accounts.length,
    consumers: consumers.length,
    intended: sum(({ intended }) => intended),
    acknowledged: sum(({ acknowledged }) => acknowledged),
    arrived: checker.arrived,
    again: checker.again,
  };
}
