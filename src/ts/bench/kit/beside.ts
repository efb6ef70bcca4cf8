// The peers of a run: who is there, what was left out, and who has failed.
//
// Invariant: a missing peer is reported before anything is measured, and never replaced by something else; a note is
// made once. When a peer fails, that is reported, and the others go on.
import { isRdmaError } from '../../core/errors.js';

/** Who can stand beside ours. */
export interface Peer {
  readonly name: string;
  /** Its name and version. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when it is not installed */
  check(): string;
}

export interface BesideOptions<Any extends Peer> {
  readonly peers: readonly Any[];
  /** What is not installed here is left out, and said through `onNote`; otherwise it is an error. */
  readonly skipMissing: boolean;
  /** What was left out, and why. */
  readonly onNote: (words: string) => void;
}

/** The words of an error. */
export const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class Beside<Any extends Peer> {
  /** Those that can run here. */
  readonly present: Any[] = [];
  /** Name and version of each. */
  readonly versions: Record<string, string> = {};
  private readonly onNote: (words: string) => void;
  private readonly noted = new Set<string>();

  /** @throws as the peers' check(), unless what is missing may be left out */
  constructor({ peers, skipMissing, onNote }: BesideOptions<Any>) {
    this.onNote = onNote;
    for (const peer of peers) {
      try {
        this.versions[peer.name] = peer.check();
        this.present.push(peer);
      } catch (error) {
        if (!skipMissing) throw error;
        this.note(`without ${peer.name}: ${wordsOf(error)}`);
      }
    }
  }

  /** Says something, unless it was said. */
  note(words: string): void {
    if (this.noted.has(words)) return;
    this.noted.add(words);
    this.onNote(words);
  }

  /**
   * Measures what may fail.
   *
   * @param where it is measured, for people: `redis has failed in ring-lat`
   * @param onFailed gets the reason when it fails
   * @throws RdmaError RDMA_ERR_ABORTED
   */
  async attempt(where: string, measure: () => Promise<void>, onFailed: (reason: string) => void): Promise<void> {
    try {
      await measure();
    } catch (error) {
      if (isRdmaError(error) && error.code === 'RDMA_ERR_ABORTED') throw error;
      const reason = wordsOf(error);
      onFailed(reason);
      this.note(`${where}: ${reason}`);
    }
  }
}
