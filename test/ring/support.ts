// Helpers of the ring tests. They wait by events or bounded polling, never by a fixed pause; content is made from a
// seed, so that a receiver can check every byte without having seen what was sent.
import { type ChildProcess, fork } from 'node:child_process';
import path from 'node:path';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import {
  Inbox,
  type InboxOptions,
  type Lane,
  Outbox,
  type OutboxOptions,
  type RdmaError,
} from '../../src/ts/ring/index.js';
import type { QueuePair } from '../../src/ts/verbs/index.js';
import { waiting } from '../until.js';

export const SECRET = 'the ring tests know it';
export const DEVICE = process.env.ONEPIECE_DEVICE ?? 'soft0';
const WAIT_MS = DEVICE === 'soft0' ? 20_000 : 60_000;

/** Waits in turns of the event loop first, as most conditions soon hold. */
export const until = waiting({ limitMs: WAIT_MS, pause: (asked) => (asked <= 200 ? turn() : sleep(2)) });

const next = (x: number) => (Math.imul(x, 1664525) + 1013904223) >>> 0;

/** Bytes that only this seed and length give. */
export function content(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let x = next(next(seed ^ length));
  for (let i = 0; i < length; i++) {
    x = next(x);
    bytes[i] = x >>> 24;
  }
  return bytes;
}

/** True when `bytes` is exactly content(seed, bytes.length). Allocates nothing. */
export function hasContent(bytes: Uint8Array, seed: number): boolean {
  let x = next(next(seed ^ bytes.length));
  for (let i = 0; i < bytes.length; i++) {
    x = next(x);
    if (bytes[i] !== x >>> 24) return false;
  }
  return true;
}

/** A seeded generator: a whole number from 0 to `below` - 1. */
export function random(seed: number): (below: number) => number {
  let x = seed >>> 0 || 1;
  return (below) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    x >>>= 0;
    return x % below;
  };
}

export function openInbox(options: Partial<InboxOptions> = {}): Promise<Inbox> {
  return Inbox.listen({ secret: SECRET, device: DEVICE, maxLanes: 8, ...options });
}

/** Its close() does not wait for what its inbox holds, as many a test holds messages on purpose; see finish.test.ts. */
export function openOutbox(inbox: Inbox | OutboxOptions['to'], options: Partial<OutboxOptions> = {}): Promise<Outbox> {
  const to = inbox instanceof Inbox ? inbox.bootstrap : inbox;
  return Outbox.connect({ to, secret: SECRET, device: DEVICE, slots: 8, dataBytes: 4096, closeMs: 0, ...options });
}

// No public state or call does what tests need of these private parts; the compiler checks their names.

/** The link of an outbox to its inbox. */
export const linkOf = (outbox: Outbox) => (outbox as unknown as { link: Outbox['link'] }).link;

/** The lanes of an inbox. */
export function lanesOf(inbox: Inbox): Lane[] {
  const { consumer } = inbox as unknown as { consumer: Inbox['consumer'] };
  return [...consumer.lanesByQp.values()];
}

/** Ends the outbox's TCP connection as a broken network would; false when it has none. */
export function breakConnection(outbox: Outbox): boolean {
  const connection = linkOf(outbox).connection;
  connection?.channel.destroy();
  return connection !== undefined;
}

/** Ends the outbox's queue pair as a fault of the device would. */
export function failQueuePair(outbox: Outbox): void {
  linkOf(outbox).connection!.qp.toError();
}

/** What the outbox's present queue pair has posted. */
export function postedBy(outbox: Outbox): { doorbells: number; sendsPosted: number } {
  const { counters } = linkOf(outbox).connection!.qp as unknown as QueuePair;
  const { doorbells, sendsPosted } = counters;
  return { doorbells, sendsPosted };
}

/** The code with which a promise rejects; undefined when it does not. */
export function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (error: RdmaError) => error.code ?? String(error),
  );
}

/** The code that a call throws; undefined when it does not. */
export function thrownCode(call: () => unknown): string | undefined {
  try {
    call();
  } catch (error) {
    return (error as RdmaError).code ?? String(error);
  }
  return undefined;
}

/** A child process of a test, with what it said. */
export interface Child {
  process: ChildProcess;
  said: Record<string, unknown>[];
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  hear(key: string): Promise<unknown>;
}

const children = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** Starts `test/ring/NAME.js` with JSON arguments; it is killed with this process. */
export function start(name: string, args: object): Child {
  const child = fork(path.join(__dirname, `${name}.js`), [JSON.stringify(args)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  children.add(child);
  const said: Record<string, unknown>[] = [];
  child.on('message', (message: Record<string, unknown>) => said.push(message));
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  const hear = async (key: string) => {
    const found = () => said.find((message) => key in message);
    // Disconnected, and not only ended: what it said before its end may still be on the way.
    await until(`the child says ${key}`, () => found() !== undefined || !child.connected);
    if (found() === undefined) throw new Error(`the child ended before it said ${key}: ${JSON.stringify(said.at(-1))}`);
    return found()?.[key];
  };
  return { process: child, said, exited, hear };
}

/** The state letter of a process, of /proc/PID/stat. */
export async function untilStopped(child: Child): Promise<void> {
  const { readFileSync } = await import('node:fs');
  const state = () => {
    const stat = readFileSync(`/proc/${child.process.pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3);
  };
  await until('the child is stopped', () => state() === 'T');
}
