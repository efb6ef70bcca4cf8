// The pieces of a job's result, as far as its run has published them, and how one reader reads them.
//
// Invariant: a log holds the pieces that count now, which the run holds too until its result is stored: nothing is kept
// for a reader. A reader that is behind reads them later, each once and in order for each instance; when pieces that it
// has read do not count any more, it hears `restarted` before the next ones.
import type { PieceEvent, PipelineOutput, PipelinePiece } from '../pipeline/index.js';
import { Wakers } from './wakers.js';

/** The pieces of one instance of a last stage, of one run. */
export interface PieceStream {
  readonly stage: string;
  readonly instance: number;
  /** Tells runs apart: pieces of different runs do not go together. */
  readonly run: string;
  readonly pieces: readonly PipelinePiece[];
}

const keyOf = ({ stage, instance }: { stage: string; instance: number }) => `${stage}/${instance}`;

/** @internal */
export class PieceLog {
  private readonly wakers = new Wakers();
  private readonly own = new Map<string, PieceStream & { pieces: PipelinePiece[] }>();
  private runs = 0;

  /** @param settler whose run it is: what this one settles the job with has the pieces of its last run */
  constructor(readonly settler: string) {}

  get streams(): ReadonlyMap<string, PieceStream> {
    return this.own;
  }

  /** The job is run, also once more: what was published before counts no more. */
  begin(): void {
    for (const stream of [...this.own.values()]) this.restart(stream);
  }

  /** Adds what a run tells. */
  add(event: PieceEvent): void {
    if (event.type === 'restarted') this.restart(event);
    else {
      const { stage, instance, number, meta, parts } = event;
      const stream = this.own.get(keyOf(event)) ?? this.restart({ stage, instance });
      stream.pieces.push({ number, meta, parts });
    }
    this.wake();
  }

  private restart({ stage, instance }: { stage: string; instance: number }) {
    const stream = { stage, instance, run: `${this.settler}#${++this.runs}`, pieces: [] };
    this.own.set(keyOf(stream), stream);
    return stream;
  }

  /** See Wakers. */
  wake(): void {
    this.wakers.wake();
  }

  /** Waits until something is added, or the log is left. @throws RdmaError RDMA_ERR_ABORTED */
  next(signal: AbortSignal | undefined): Promise<void> {
    return this.wakers.next(signal);
  }
}

/** The pieces of a result that is stored. */
export function streamsOf(outputs: readonly PipelineOutput[]): ReadonlyMap<string, PieceStream> {
  const streams = new Map<string, PieceStream>();
  for (const { stage, instance, pieces = [] } of outputs) {
    streams.set(keyOf({ stage, instance }), { stage, instance, run: 'stored', pieces });
  }
  return streams;
}

/** @internal How far one reader has come. */
export class PieceReader {
  private readonly positions = new Map<string, { stage: string; instance: number; run: string; next: number }>();

  /** What it has not read of these streams; undefined: nothing. */
  next(streams: ReadonlyMap<string, PieceStream>): PieceEvent | undefined {
    for (const [key, { stage, instance, run, next }] of this.positions) {
      if (streams.get(key)?.run === run) continue;
      this.positions.delete(key);
      if (next > 0) return { type: 'restarted', stage, instance };
    }
    for (const [key, { stage, instance, run, pieces }] of streams) {
      const next = this.positions.get(key)?.next ?? 0;
      if (next >= pieces.length) continue;
      this.positions.set(key, { stage, instance, run, next: next + 1 });
      return { type: 'piece', stage, instance, ...pieces[next]! };
    }
    return undefined;
  }

  /** All that it has not read, also what is added meanwhile. */
  *all(streams: ReadonlyMap<string, PieceStream>): Generator<PieceEvent> {
    for (let event = this.next(streams); event !== undefined; event = this.next(streams)) yield event;
  }
}
