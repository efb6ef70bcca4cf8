// The decisions of a cluster, as a bounded ring of events in the control store.
//
// Invariant: an event is one record, and its slot is its sequence modulo the size of the ring. Each is written against
// the revision that it overwrites, so two writers never share a sequence, and a new leader goes on after the last one
// in the store. An event that cannot be written is reported as a trouble; it stops nothing.
import { type FailureCode, isRdmaError, RdmaError } from '../core/errors.js';
import { withDeadline } from '../core/deadline.js';
import { checkInteger, checkObject, checkString } from '../core/validate.js';
import {
  type ControlStore,
  type Entry,
  type Json,
  type Leadership,
  readFenced,
  systemControlPort,
} from '../control/index.js';
import { asJson } from './cluster-records.js';

export const EVENTS = 'events.';
/** The newest so many events are kept. */
export const MAX_EVENTS = 256;
/** Events that wait to be written; what comes then is dropped, and said to be. */
const MAX_WAITING = 64;
const MAX_TRIES = 10;
const LIST_MS = 10_000;

/** What happened. */
export type ClusterEventType =
  | 'scale'
  | 'gpus'
  | 'plan'
  | 'deployed'
  | 'switched'
  | 'rolled-back'
  | 'undeployed'
  | 'node-lost'
  | (string & {});

/** What its author says of an event. */
export interface NewClusterEvent {
  /** The app that it is about; '' when it is about none, or all. */
  readonly app: string;
  readonly type: ClusterEventType;
  /** One sentence for people. */
  readonly words: string;
  /** What the decision was made of, as JSON takes it. */
  readonly inputs?: object | undefined;
}

/** An event, as the store keeps it. */
export interface ClusterEvent extends Omit<NewClusterEvent, 'inputs'> {
  /** From 1, without a gap. */
  readonly sequence: number;
  /** When it was written, by its author's wall clock: ms since 1970, for people only. */
  readonly atMs: number;
  /** Of the leader that wrote it; of what operators write the newest that they saw. */
  readonly term: number;
  readonly inputs: Json;
}

/** Who may write events, and what is done when one cannot be kept. */
export interface ClusterEventsOptions {
  /** What the controller may do as the leader; undefined while it does not lead. Without it an operator writes. */
  readonly leadership?: (() => Leadership | undefined) | undefined;
  /** An event could not be kept. */
  readonly onTrouble?: ((error: RdmaError) => void) | undefined;
  /** The wall clock; default Date.now. */
  readonly wallMs?: (() => number) | undefined;
  /** How long to wait for the store, in ms; default 10 000. */
  readonly timeoutMs?: number | undefined;
}

/** Who appends events. */
export class ClusterEvents {
  private ring: Ring | undefined; // undefined: what is there has to be read
  private waiting = 0;
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly store: ControlStore,
    private readonly options: ClusterEventsOptions = {},
  ) {}

  /**
   * Appends an event, after those before it.
   *
   * @returns whether the store is known to have it; never rejects
   */
  append(event: NewClusterEvent): Promise<boolean> {
    if (this.waiting >= MAX_WAITING) {
      this.trouble(event, new RdmaError('RDMA_ERR_REJECTED', `${MAX_WAITING} events wait to be written already`));
      return Promise.resolve(false);
    }
    this.waiting++;
    const done = this.last.then(() => this.write(event)).finally(() => this.waiting--);
    this.last = done;
    return done;
  }

  /** After all that was appended until now. */
  async settled(): Promise<void> {
    await this.last;
  }

  private async write(event: NewClusterEvent): Promise<boolean> {
    for (let tries = 1; ; tries++) {
      try {
        this.ring ??= await readRing(this.store, this.options.timeoutMs ?? LIST_MS);
        await this.put(this.ring, event);
        return true;
      } catch (error) {
        // Another one was faster, or the store has forgotten: where the ring ends has to be read again.
        this.ring = undefined;
        const isOver = this.options.leadership !== undefined && this.options.leadership() === undefined;
        if ((error as RdmaError).code !== 'RDMA_ERR_CONFLICT' || isOver || tries === MAX_TRIES) {
          this.trouble(event, error);
          return false;
        }
      }
    }
  }

  private async put(ring: Ring, { app, type, words, inputs }: NewClusterEvent): Promise<void> {
    const { leadership, wallMs = Date.now } = this.options;
    const sequence = ring.last + 1;
    const key = keyOf(sequence);
    const expected = ring.slots.get(key)?.revision ?? 0;
    const at = leadership?.();
    if (leadership !== undefined && at === undefined) {
      throw new RdmaError('RDMA_ERR_CONFLICT', 'this controller leads no longer');
    }
    const term = at?.term ?? ring.term;
    const json = { sequence, atMs: wallMs(), term, app, type, words, inputs: inputs === undefined ? null : inputs };
    const value = asJson(json);
    const revision =
      at === undefined
        ? await this.store.put(key, { term, holder: 'operator', value }, { expected })
        : await at.put(key, value, { expected });
    ring.slots.set(key, { revision });
    ring.last = sequence;
    ring.term = Math.max(ring.term, term);
  }

  private trouble({ type, app }: NewClusterEvent, cause: unknown): void {
    const { message = String(cause) } = Object(cause) as Partial<Error>;
    const code = isRdmaError(cause) ? (cause.code as FailureCode) : 'RDMA_ERR_INTERNAL';
    const text = `the event ${type}${app === '' ? '' : ` of ${app}`} was not kept: ${message}`;
    this.options.onTrouble?.(new RdmaError(code, text, { cause }));
  }
}

interface Ring {
  last: number;
  term: number;
  readonly slots: Map<string, { readonly revision: number; readonly event?: ClusterEvent | undefined }>;
}

const keyOf = (sequence: number): string => EVENTS + String(sequence % MAX_EVENTS).padStart(3, '0');

/**
 * The events that the store has.
 *
 * @param timeoutMs how long to wait for the store, default 10 000
 * @returns by sequence, the newest last; records that are no events are left out
 * @throws RdmaError RDMA_ERR_TIMEOUT; those of ControlStore.watch
 */
export async function listClusterEvents(store: ControlStore, timeoutMs = LIST_MS): Promise<ClusterEvent[]> {
  const { slots } = await readRing(store, timeoutMs);
  const events = [...slots.values()].flatMap(({ event }) => event ?? []);
  return events.sort((a, b) => a.sequence - b.sequence);
}

/** The event of a record. @throws RdmaError RDMA_ERR_PROTOCOL, RDMA_ERR_INVALID_ARGUMENT when it is none */
export function readClusterEvent(entry: Entry): ClusterEvent {
  const event = checkObject<ClusterEvent>('an event', readFenced(entry).value);
  const { sequence, atMs, term, app, type, words, inputs = null } = event;
  checkInteger('sequence', sequence, 1);
  checkInteger('term', term, 0);
  if (typeof atMs !== 'number') throw new RdmaError('RDMA_ERR_PROTOCOL', `${entry.key} says no time`);
  for (const [name, value] of Object.entries({ app, type, words })) checkString(name, value);
  return { sequence, atMs, term, app, type, words, inputs };
}

async function readRing(store: ControlStore, timeoutMs: number): Promise<Ring> {
  const ring: Ring = { last: 0, term: 0, slots: new Map() };
  const end = new AbortController();
  const read = async () => {
    for await (const event of store.watch(EVENTS, end.signal)) {
      if (event.type === 'synced') return;
      if (event.type === 'put') add(ring, event.entry);
    }
    throw new RdmaError('RDMA_ERR_PEER_GONE', 'the watch of the events has ended');
  };
  const late = () => new RdmaError('RDMA_ERR_TIMEOUT', `the control store told no events within ${timeoutMs} ms`);
  try {
    await withDeadline(read(), { timeoutMs, timers: systemControlPort.timers, late });
  } finally {
    end.abort();
  }
  return ring;
}

function add(ring: Ring, entry: Entry): void {
  const event = eventOf(entry);
  // What is no event is overwritten when its turn comes.
  ring.slots.set(entry.key, { revision: entry.revision, event });
  ring.last = Math.max(ring.last, event?.sequence ?? 0);
  ring.term = Math.max(ring.term, event?.term ?? 0);
}

function eventOf(entry: Entry): ClusterEvent | undefined {
  try {
    return readClusterEvent(entry);
  } catch {
    return undefined;
  }
}

/**
 * The events that the store has, and then each that comes.
 *
 * @param signal ends it
 * @throws those of ControlStore.watch
 */
export async function* followClusterEvents(store: ControlStore, signal: AbortSignal): AsyncGenerator<ClusterEvent> {
  const found: ClusterEvent[] = []; // and not told yet
  let isSynced = false;
  let last = 0;
  for await (const change of store.watch(EVENTS, signal)) {
    const event = change.type === 'put' ? eventOf(change.entry) : undefined;
    if (event !== undefined) found.push(event);
    isSynced ||= change.type === 'synced';
    if (!isSynced) continue;
    for (const each of found.splice(0).sort((a, b) => a.sequence - b.sequence)) {
      if (each.sequence <= last) continue; // told before: the watch has begun again
      last = each.sequence;
      yield each;
    }
  }
}
