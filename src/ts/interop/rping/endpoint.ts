// One side of rping: its queue pair, its buffers, and the waiting for completions.
//
// Invariant: two receives are posted at all times, each into a buffer of its own, so a peer that follows the protocol
// never finds none. Waiting uses no CPU: it sleeps on the completion channel.
import { followAbort } from '../../core/abort.js';
import { RdmaError } from '../../core/errors.js';
import { completionError } from '../../verbs/completion-error.js';
import { AccessFlags, CompletionOpcode, CompletionStatus, SendFlags } from '../../addon/constants.js';
import { Device } from '../../verbs/device.js';
import type { MemoryRegion } from '../../verbs/memory-region.js';
import type { QueuePair } from '../../verbs/queue-pair.js';
import type { CompletionQueue } from '../../verbs/completion-queue.js';
import type { Connection } from '../../rdmacm/connection.js';
import { type Advertisement, MESSAGE_BYTES, readMessage, writeMessage } from './message.js';

const RECEIVES = 2;
const DEPTH = 16;
const FULL = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_READ | AccessFlags.REMOTE_WRITE;

export class RpingEndpoint implements Disposable {
  readonly queuePair: QueuePair;
  private readonly device: Device;
  private readonly cq: CompletionQueue;
  /** Receives, then the message to send. */
  private readonly messages: MemoryRegion;
  private readonly received: Advertisement[] = [];
  private finished = 0; // READs and WRITEs
  private failure: RdmaError | undefined;
  private wake: (() => void) | undefined;
  private release: () => void = () => undefined;

  /** @throws RdmaError as the objects that it makes */
  constructor(deviceName: string) {
    this.device = Device.open(deviceName);
    try {
      const pd = this.device.allocateProtectionDomain();
      const channel = this.device.createCompletionChannel(() => this.drain());
      channel.keepAlive(true);
      this.cq = this.device.createCompletionQueue(DEPTH * 2, channel);
      this.messages = pd.registerMemory({ bytes: MESSAGE_BYTES * (RECEIVES + 1) });
      this.queuePair = pd.createQueuePair({ sendCq: this.cq, maxSendWr: DEPTH, maxRecvWr: RECEIVES, signalAll: true });
      this.buffer = (size) => pd.registerMemory({ bytes: size, access: FULL });
      this.cq.requestNotify();
    } catch (error) {
      this.device.close();
      throw error;
    }
  }

  /** A buffer that the peer may read and write. */
  readonly buffer: (size: number) => MemoryRegion;

  readonly postReceives = (): void => {
    for (let slot = 0; slot < RECEIVES; slot++) this.postReceive(slot);
  };

  private postReceive(slot: number): void {
    const { address, lkey } = this.messages;
    this.queuePair.receives.into(0, slot, address + slot * MESSAGE_BYTES, MESSAGE_BYTES, lkey);
    this.queuePair.postReceive(1);
  }

  /** Whoever waits gets an error when the connection ends or `signal` is aborted. */
  attach(connection: Connection, signal: AbortSignal | undefined): void {
    const abort = () => this.fail(new RdmaError('RDMA_ERR_ABORTED', 'rping was aborted'));
    // A server has one signal for all of its connections.
    this.release = followAbort(signal, abort);
    void connection.closed.then((reason) => {
      const words = { local: 'this side', peer: 'the peer', 'device-removed': 'the removal of the device' };
      this.fail(new RdmaError('RDMA_ERR_PEER_GONE', `the connection was ended by ${words[reason]}`));
    });
  }

  private fail(error: RdmaError): void {
    this.failure ??= error;
    this.wake?.();
  }

  private drain(): void {
    if (this.cq.closed) return;
    this.poll();
    this.cq.requestNotify();
    this.poll(); // what came before the arming
    this.wake?.();
  }

  private poll(): void {
    for (let count = this.cq.poll(); count > 0; count = this.cq.poll()) {
      for (let i = 0; i < count; i++) this.take(i);
    }
  }

  private take(index: number): void {
    const { completions: c } = this.cq;
    const status = c.status(index);
    // The end of the connection has a reason of its own.
    if (status === CompletionStatus.FLUSHED) return;
    if (status !== CompletionStatus.SUCCESS) {
      this.fail(completionError(status));
      return;
    }
    const opcode = c.opcode(index);
    if (opcode === CompletionOpcode.READ || opcode === CompletionOpcode.WRITE) this.finished++;
    if (opcode !== CompletionOpcode.RECEIVE) return;
    const slot = c.wrId(index);
    try {
      const view = new DataView(this.messages.buffer, slot * MESSAGE_BYTES, MESSAGE_BYTES);
      this.received.push(readMessage(view, c.byteLength(index)));
      this.postReceive(slot);
    } catch (error) {
      this.fail(error as RdmaError);
    }
  }

  private async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.failure !== undefined) throw this.failure;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      this.wake = undefined;
    }
  }

  /**
   * The next message of the peer. @throws RdmaError RDMA_ERR_PEER_GONE, RDMA_ERR_COMPLETION, RDMA_ERR_PROTOCOL,
   * RDMA_ERR_ABORTED
   */
  async receive(): Promise<Advertisement> {
    await this.until(() => this.received.length > 0);
    return this.received.shift()!;
  }

  /** Sends a message. */
  send(message: Advertisement): void {
    const { address, lkey, buffer } = this.messages;
    const at = RECEIVES * MESSAGE_BYTES;
    writeMessage(new DataView(buffer, at, MESSAGE_BYTES), message);
    this.queuePair.sends.send(0, 0, SendFlags.SIGNALED, address + at, MESSAGE_BYTES, lkey);
    this.queuePair.postSend(1);
  }

  /** READs from, or WRITEs to, the peer's buffer; settles when that is complete. */
  async transfer(how: 'read' | 'write', memory: MemoryRegion, bytes: number, peer: Advertisement): Promise<void> {
    const { sends } = this.queuePair;
    const target = this.finished + 1;
    sends[how](0, 0, SendFlags.SIGNALED, peer.address, peer.rkey, memory.address, bytes, memory.lkey);
    this.queuePair.postSend(1);
    await this.until(() => this.finished >= target);
  }

  /** Closes everything, the queue pair too. */
  close(): void {
    this.release();
    this.device.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
