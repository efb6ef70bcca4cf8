// What a Python process prints, as lines of a log.
//
// Invariant: pure: time is an argument. However much is printed, only so many bytes of it are written; what is left out
// is counted and said. The last of it is kept for the error that tells how the process ended.
const MAX_LINE_BYTES = 4096;
const BURST_BYTES = 2 ** 20;
const BYTES_PER_MS = 256;
/** After something was left out so much must be free again: not each second line is written, with a gap behind it. */
const RESUME_BYTES = 64 * 1024;
const KEPT_CHARS = 4000;

export class LogLines {
  /** Bytes that were left out, since the start. */
  droppedBytes = 0;
  private readonly label: string;
  private readonly rests = ['', '']; // of each stream: a line that has not ended
  private budget = BURST_BYTES;
  private atMs = 0;
  private unsaid = 0; // left out since the last line that said so
  private last = '';

  /** @param label the start of each line: the stage and its instance */
  constructor(label: string) {
    this.label = label;
  }

  /**
   * Takes what was printed.
   *
   * @param text as it came, whole characters
   * @param stream 0 or 1: the two end their lines each for itself
   * @param nowMs of any clock that goes forward
   * @returns the lines to write, each with its end; often none
   */
  add(text: string, stream: 0 | 1, nowMs: number): string {
    this.last = (this.last + text.slice(-KEPT_CHARS)).slice(-KEPT_CHARS);
    this.budget = Math.min(BURST_BYTES, this.budget + Math.max(0, nowMs - this.atMs) * BYTES_PER_MS);
    this.atMs = nowMs;
    let out = '';
    let from = 0;
    let rest = this.rests[stream]!;
    for (;;) {
      const end = text.indexOf('\n', from);
      if (end < 0) break;
      out += this.line(rest + text.slice(from, end));
      rest = '';
      from = end + 1;
    }
    // A line without an end is not kept for ever.
    rest += text.slice(from);
    while (rest.length > MAX_LINE_BYTES) {
      out += this.line(rest.slice(0, MAX_LINE_BYTES));
      rest = rest.slice(MAX_LINE_BYTES);
    }
    this.rests[stream] = rest;
    return out;
  }

  private line(text: string): string {
    const cut = text.length > MAX_LINE_BYTES ? `${text.slice(0, MAX_LINE_BYTES)} ...` : text;
    const line = `${this.label}: ${cut}\n`;
    if (line.length > this.budget || (this.unsaid > 0 && this.budget < RESUME_BYTES)) {
      this.droppedBytes += text.length + 1;
      this.unsaid += text.length + 1;
      return '';
    }
    this.budget -= line.length;
    const said = this.gap();
    return said + line;
  }

  private gap(): string {
    const { unsaid } = this;
    if (unsaid === 0) return '';
    this.unsaid = 0;
    return `${this.label}: (${unsaid} bytes that it printed too fast are left out)\n`;
  }

  /** What is left, when nothing more comes. */
  end(): string {
    let out = '';
    for (const rest of this.rests) if (rest !== '') out += this.line(rest);
    this.rests.fill('');
    return out + this.gap();
  }

  /** The last that was printed, at most some thousand characters. */
  get tail(): string {
    return this.last.trimEnd();
  }
}
