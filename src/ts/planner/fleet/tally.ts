// What has come of the requests and of the GPU time of a simulation.
//
// Invariant: every request ends once: served, refused, or at its deadline. When `left` is 0 each one has.

export class Tally {
  /** By request, in s; NaN: it was refused, or ended at its deadline. */
  readonly latencyS: Float64Array;
  private leftNow: number;
  private rejectedNow = 0;
  private expiredNow = 0;
  /** Nodes that died, and tasks that began again because theirs did. */
  deaths = 0;
  again = 0;
  /** Of the scale policies. */
  actions = 0;
  private busyS = 0;
  private switchS = 0;

  /** @param requests of the trace */
  constructor(requests: number) {
    this.latencyS = new Float64Array(requests);
    this.leftNow = requests;
  }

  /** Requests that have not ended, those that are still to come too. */
  get left(): number {
    return this.leftNow;
  }

  get rejected(): number {
    return this.rejectedNow;
  }

  get expired(): number {
    return this.expiredNow;
  }

  /** GPU seconds of tasks. */
  get busyGpuS(): number {
    return this.busyS;
  }

  /** GPU seconds in which running instances loaded other weights. */
  get switchGpuS(): number {
    return this.switchS;
  }

  /** A request has its answer. @param latencyS seconds after it came */
  served(request: number, latencyS: number): void {
    this.latencyS[request] = latencyS;
    this.leftNow--;
  }

  refused(request: number): void {
    this.rejectedNow++;
    this.latencyS[request] = Number.NaN;
    this.leftNow--;
  }

  /** A request ended at its deadline. */
  late(request: number): void {
    this.expiredNow++;
    this.latencyS[request] = Number.NaN;
    this.leftNow--;
  }

  /**
   * A task begins.
   *
   * @param workS its work, in s
   * @param switchS what its worker loads before it, in s
   * @param gpus how many it has
   */
  began(workS: number, switchS: number, gpus: number): void {
    this.switchS += switchS * gpus;
    this.busyS += workS * gpus;
  }

  /** A task stops before its end. @param restS seconds of work that it has not done */
  stopped(restS: number, gpus: number): void {
    this.busyS -= restS * gpus;
  }
}
