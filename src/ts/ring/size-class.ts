// The free blocks of one size.
//
// Invariant: the block that was given back last is taken first, as it is still in the processor's caches. Each free
// block of a segment is on the stack exactly once.

const MIN_BYTES = 64;

/**
 * What a block of `bytes` takes: 64, then four sizes for each power of two, so that at most a fifth is unused; a
 * multiple of 64.
 */
export function sizeClassOf(bytes: number): number {
  if (bytes <= MIN_BYTES) return MIN_BYTES;
  const power = 2 ** (31 - Math.clz32(Math.floor((bytes - 1) / MIN_BYTES))); // in units of 64
  const step = MIN_BYTES * Math.max(1, power / 4);
  return Math.ceil(bytes / step) * step;
}

/** The memory that is cut into blocks. */
export interface BlockMemory {
  readonly bytes: number;
}

/** The free blocks of one size, in memory `M`. */
export class SizeClass<M extends BlockMemory> {
  /** Bytes of each block. */
  readonly blockBytes: number;
  // Parallel stacks: where the free blocks are.
  private readonly segments: M[] = [];
  private readonly offsets: number[] = [];

  constructor(blockBytes: number) {
    this.blockBytes = blockBytes;
  }

  get isEmpty(): boolean {
    return this.segments.length === 0;
  }

  /** Segment of the block that take() takes next. There is one. */
  get segment(): M {
    return this.segments[this.segments.length - 1]!;
  }

  /** Takes a block; answers where it begins in its segment. */
  take(): number {
    this.segments.pop();
    return this.offsets.pop()!;
  }

  give(segment: M, offset: number): void {
    this.segments.push(segment);
    this.offsets.push(offset);
  }

  /** All blocks of a new segment, the first one on top. */
  add(segment: M): void {
    const { blockBytes } = this;
    const last = Math.floor(segment.bytes / blockBytes) * blockBytes - blockBytes;
    for (let offset = last; offset >= 0; offset -= blockBytes) this.give(segment, offset);
  }

  /** The segment goes away; all its blocks are free. */
  remove(segment: M): void {
    const { segments, offsets } = this;
    let kept = 0;
    for (let i = 0; i < segments.length; i++) {
      if (segments[i] === segment) continue;
      segments[kept] = segments[i]!;
      offsets[kept++] = offsets[i]!;
    }
    segments.length = kept;
    offsets.length = kept;
  }
}
