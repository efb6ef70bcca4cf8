// Reads server-sent events out of a body as it comes.
//
// Invariant: events come out whole and in order, however the text was cut; what is longer than the limit ends the
// reading rather than filling the memory. Imports nothing: browsers run it too.

/** One event. */
export interface ServerSentEvent {
  readonly event: string;
  readonly data: string;
}

const MAX_PENDING = 64 * 2 ** 20;

/** See the HTML standard, 9.2.6 "Interpreting an event stream". */
export class SseParser {
  private pending = '';
  private event = '';
  private data: string[] = [];

  /**
   * Takes in more text.
   *
   * @returns the events that are complete with it
   * @throws Error when one event is longer than 64 Mi characters
   */
  push(text: string): ServerSentEvent[] {
    const events: ServerSentEvent[] = [];
    this.pending += text;
    if (this.pending.length > MAX_PENDING) throw new Error('an event of the stream is too long');
    for (;;) {
      const end = this.pending.search(/\r\n|\n|\r(?!$)/);
      if (end < 0) return events;
      const line = this.pending.slice(0, end);
      this.pending = this.pending.slice(end + (this.pending.startsWith('\r\n', end) ? 2 : 1));
      this.take(line, events);
    }
  }

  private take(line: string, events: ServerSentEvent[]): void {
    if (line === '') {
      if (this.data.length > 0) events.push({ event: this.event || 'message', data: this.data.join('\n') });
      this.event = '';
      this.data = [];
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return; // a comment
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.event = value;
    else if (field === 'data') this.data.push(value);
  }
}
