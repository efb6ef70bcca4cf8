// What a consumer does with each message of a benchmark.
//
// Invariant: every message is looked at: its length and ends always, every byte of it when it is to be touched. Allocates
// only when a message comes from a lane that it has not seen last.
import { RdmaError } from '../../core/errors.js';
import type { Lane } from '../../ring/index.js';
import { checkEnds, checkSum, readMessage } from '../payload.js';

export class Reader {
  /** Whether every byte is read. */
  touched = false;
  private readonly sizeBytes: number;
  private memory: Uint8Array | undefined;
  private lane: Lane | undefined;
  private view: DataView = new DataView(new ArrayBuffer(0));

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
    if (this.touched) checkSum(readMessage(new DataView(buffer, byteOffset, length), 0, length), length, round);
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
    checkEnds(data[offset]!, data[offset + length - 1]!, length, round);
    if (this.touched) {
      if (lane !== this.lane) {
        this.lane = lane;
        this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
      }
      checkSum(readMessage(this.view, offset, length), length, round);
    }
  }

  /** The message that the lane shows is not needed any more. */
  done(lane: Lane): void {
    lane.release(lane.sequence);
    lane.acknowledge(lane.sequence);
  }
}
