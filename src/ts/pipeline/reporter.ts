// What a stage instance tells gateways of its tasks: that they began, how far they are, that they ended, that they
// failed.
//
// Invariant: reports for one gateway go out in the order in which they were made. Several that are made together travel
// together, behind what is being done in that moment.
import { Flag } from './envelope.js';
import type { JoinedInputs } from './join.js';
import { encodeFailure, Report, ReportWriter, type StageFailure } from './notes.js';
import type { Place } from './place.js';
import { GATEWAY_INDEX, placeName } from './plan.js';
import { encodeProgress, type ProgressDetails } from './progress-note.js';
import type { RequestAttempt } from './task-board.js';

/** What reports ask of their place. */
export type ReportingPlace = Pick<Place, 'options' | 'sizes' | 'isEnding' | 'noteHead' | 'sendNote' | 'hasBacklog'>;

export class Reporter {
  private readonly place: ReportingPlace;
  private writers: readonly ReportWriter[] = []; // one for each gateway and its run
  private isDue = false;
  private dropped = 0;

  constructor(place: ReportingPlace) {
    this.place = place;
  }

  /** Previews that were dropped, as the gateway did not keep up, since the start. */
  get droppedPreviews(): number {
    return this.dropped;
  }

  /**
   * Adds a report of a task; it goes out soon.
   *
   * @param what one of {@link Report}; the times are in microseconds, `progress` is 0 to 1
   */
  report(joined: JoinedInputs, what: number, queueUs = 0, computeUs = 0, progress = 0): void {
    const { ledger, ticket, attempt } = joined;
    const writer = this.writerFor(ledger.gateway, ledger.gatewayRun);
    if (writer.isFull) this.send(writer);
    writer.add(what, ticket, attempt, queueUs, computeUs, progress);
    if (this.isDue) return;
    // Behind what is being done now, so that an output goes before its report, and several reports together.
    this.isDue = true;
    queueMicrotask(this.sendAll);
  }

  /** Says how far a task is, if its request is watched. @param done 0 to 1 */
  progress(joined: JoinedInputs, done: number, details: ProgressDetails | undefined): void {
    if ((joined.flags & Flag.WATCHED) === 0) return;
    if (details === undefined) this.report(joined, Report.PROGRESS, 0, 0, done);
    else this.sendProgress(joined, done, details);
  }

  private sendProgress(
    { ledger, ticket, attempt }: JoinedInputs,
    done: number,
    { step, preview }: ProgressDetails,
  ): void {
    const { place } = this;
    const target = this.gatewayName(ledger.gateway);
    // Behind the report that the task began.
    this.sendAll();
    const isLate = preview !== undefined && place.hasBacklog(target);
    if (isLate) this.dropped++;
    const note = { ticket, attempt, done, step, preview: isLate ? undefined : preview };
    const notes = encodeProgress(place.noteHead(ledger.gatewayRun), note, place.sizes.inlineBytes);
    for (const bytes of notes) if (!place.isEnding) place.sendNote(target, bytes);
  }

  /**
   * Tells a gateway at once that its request has failed.
   *
   * @param onSettled called when the gateway has it; undefined: nobody waits for that
   * @throws the error of a link that has failed, when somebody waits
   */
  sendFailure(request: RequestAttempt, failure: StageFailure, onSettled?: () => void): void {
    const { place } = this;
    const { gateway, gatewayRun, ticket, attempt } = request;
    const note = encodeFailure(place.noteHead(gatewayRun), ticket, attempt, failure, place.sizes.inlineBytes);
    place.sendNote(this.gatewayName(gateway), note, onSettled);
  }

  private writerFor(gateway: number, gatewayRun: number): ReportWriter {
    const { writers } = this;
    for (let i = 0; i < writers.length; i++) if (writers[i]!.isFor(gateway, gatewayRun)) return writers[i]!;
    const { stage, instance } = this.place.options.self;
    const writer = new ReportWriter(stage, instance, gateway, gatewayRun);
    // Of an older run of the gateway nobody reads anything.
    this.writers = [...writers.filter((other) => other.gateway !== gateway || !other.isEmpty), writer];
    return writer;
  }

  /** Sends what waits, if there is anything: what comes next may keep the process busy for minutes. */
  sendDue(): void {
    if (this.isDue) this.sendAll();
  }

  /** Sends what waits. */
  readonly sendAll = (): void => {
    this.isDue = false;
    const { writers } = this;
    for (let i = 0; i < writers.length; i++) if (!writers[i]!.isEmpty) this.send(writers[i]!);
  };

  private send(writer: ReportWriter): void {
    const note = writer.take();
    if (!this.place.isEnding) this.place.sendNote(this.gatewayName(writer.gateway), note);
  }

  private gatewayName(gateway: number): string {
    return placeName(this.place.options.graph.spec, { stage: GATEWAY_INDEX, instance: gateway });
  }
}
