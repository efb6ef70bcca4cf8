// What a consumer does with each message of a benchmark.
//
// Invariant: every message is looked at: its length and ends always, every byte of it when it is to be read. A long
// message is read from a copy, which is faster, and the time includes the copying; a short one is read where it lies.
import { RdmaError } from '../../core/errors.js';
import type { Lane } from '../../ring/index.js';
import { checkEnds, checkSum, readMessage } from '../kit/payload.js';

const COPIED_BYTES = 4096;

/** What ends a sample: the consumer holds the message, has it in its own memory, or has read every byte of it. */
export type Until = 'held' | 'copied' | 'read';

export class Reader {
  until: Until = 'held';
  private readonly sizeBytes: number;
  private memory: Uint8Array<ArrayBuffer> | undefined;
  private view: DataView | undefined;
  private lane: Lane | undefined;
  private laneView: DataView | undefined;

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
  }

  /**
   * Pulls the message that the lane shows, and gives its space and custody back.
   *
   * @throws as take(); as InboxMessage.pull()
   */
  async pull(lane: Lane, round: number): Promise<void> {
    const message = lane.message();
    this.memory ??= new Uint8Array(this.sizeBytes);
    const { length, byteOffset, buffer } = await message.pull(this.memory);
    if (length !== this.sizeBytes) {
      throw new RdmaError('RDMA_ERR_PROTOCOL', `${length} bytes came where ${this.sizeBytes} were sent`);
    }
    checkEnds(this.memory[0]!, this.memory[length - 1]!, length, round);
    if (this.until === 'read')
      checkSum(readMessage(new DataView(buffer, byteOffset, length), 0, length), length, round);
    message.done();
  }

  /**
   * Looks at the message that the lane shows. Its space and custody are given back by done().
   *
   * @throws RdmaError RDMA_ERR_PROTOCOL when it is not the one of the round
   */
  take(lane: Lane, round: number): void {
    const { offset, length, data } = lane;
    if (length !== this.sizeBytes) {
      throw new RdmaError('RDMA_ERR_PROTOCOL', `${length} bytes came where ${this.sizeBytes} were sent`);
    }
    const isShort = length < COPIED_BYTES && this.until === 'read';
    if (this.until === 'held' || isShort) {
      checkEnds(data[offset]!, data[offset + length - 1]!, length, round);
      if (isShort) checkSum(readMessage(this.viewOf(lane), offset, length), length, round);
      return;
    }
    this.memory ??= new Uint8Array(this.sizeBytes);
    this.view ??= new DataView(this.memory.buffer);
    lane.copyTo(this.memory);
    checkEnds(this.memory[0]!, this.memory[length - 1]!, length, round);
    if (this.until === 'read') checkSum(readMessage(this.view, 0, length), length, round);
  }

  private viewOf(lane: Lane): DataView {
    if (lane !== this.lane) {
      const { buffer, byteOffset, byteLength } = lane.data;
      this.lane = lane;
      this.laneView = new DataView(buffer, byteOffset, byteLength);
    }
    return this.laneView!;
  }

  /** The message that the lane shows is not needed any more. */
  done(lane: Lane): void {
    lane.release(lane.sequence);
    lane.acknowledge(lane.sequence);
  }
}
