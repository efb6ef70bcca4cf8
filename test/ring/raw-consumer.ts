// A consumer by hand: it knows the secret, answers whoever comes with a lane, and then writes what it likes into the
// producer's control block. One lane at a time.
import { BootstrapServer, type BootstrapChannel } from '../../src/ts/connect/index.js';
import type { Offer } from '../../src/ts/ring/negotiation-messages.js';
import { DESCRIPTOR_BYTES } from '../../src/ts/ring/layout.js';
import {
  AccessFlags,
  CompletionStatus,
  type CompletionQueue,
  Device,
  type MemoryRegion,
  type ProtectionDomain,
  type QueuePair,
  SendFlags,
} from '../../src/ts/verbs/index.js';
import { DEVICE, SECRET, until } from './support.js';

export const RAW_EPOCH = 41;
const SLOTS = 64;
const DATA_BYTES = 4096;
const CONTROL_AT = SLOTS * DESCRIPTOR_BYTES + DATA_BYTES;

export class RawConsumer {
  /** Lanes given so far. */
  lanes = 0;
  /** Replaces parts of what an inbox would answer. */
  wrong: object = {};
  offer!: Offer;
  private channel: BootstrapChannel | undefined;
  private qp: QueuePair | undefined;
  private server!: BootstrapServer;
  private readonly device = Device.open(DEVICE);
  private readonly cq: CompletionQueue;
  private readonly pd: ProtectionDomain;
  private readonly memory: MemoryRegion;

  private constructor() {
    this.pd = this.device.allocateProtectionDomain();
    this.cq = this.device.createCompletionQueue(256);
    const access = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE;
    this.memory = this.pd.registerMemory({ bytes: CONTROL_AT + DESCRIPTOR_BYTES, access });
  }

  static async listen(): Promise<RawConsumer> {
    const raw = new RawConsumer();
    raw.server = await BootstrapServer.listen({
      secret: SECRET,
      service: 'onepiece-inbox',
      onPeer: (channel) => void raw.take(channel),
    });
    return raw;
  }

  get bootstrap(): { host: string; port: number } {
    return this.server.address;
  }

  private async take(channel: BootstrapChannel): Promise<void> {
    const offer = (await channel.receive()) as Offer;
    this.channel?.destroy();
    this.qp?.close();
    const address = this.device.portAddress();
    const qp = this.pd.createQueuePair({ sendCq: this.cq, maxSendWr: 64, maxRecvWr: SLOTS });
    qp.toInit(address, AccessFlags.REMOTE_WRITE);
    for (let i = 0; i < SLOTS; i++) qp.receives.empty(i, 0);
    qp.postReceive(SLOTS);
    qp.toReadyToReceive(address, offer.endpoint);
    qp.toReadyToSend({ timeout: 10 });
    this.channel = channel;
    this.qp = qp;
    this.offer = offer;
    channel.send({
      type: 'answer',
      inbox: 'ab'.repeat(16),
      lane: 0,
      epoch: RAW_EPOCH,
      slots: Math.min(SLOTS, offer.slots),
      dataBytes: Math.min(DATA_BYTES, offer.dataBytes),
      memory: { address: this.memory.address, rkey: this.memory.rkey },
      inlineBytes: 0,
      inPlace: false,
      polled: false,
      maxPullBytes: 0,
      delivered: offer.acknowledged,
      acknowledged: offer.acknowledged,
      endpoint: qp.endpoint(address),
      ...this.wrong,
    });
    this.lanes++;
  }

  /** WRITEs any 16 words into the control block, with an immediate, and waits until they are there. */
  async writeControl(words: ArrayLike<number>): Promise<void> {
    const { memory, qp, offer } = this;
    new Uint32Array(memory.buffer, CONTROL_AT, DESCRIPTOR_BYTES / 4).set(words);
    const { address, rkey } = offer.control;
    qp!.sends.writeWithImm(
      0,
      7,
      SendFlags.SIGNALED,
      0,
      address,
      rkey,
      memory.address + CONTROL_AT,
      DESCRIPTOR_BYTES,
      memory.lkey,
    );
    qp!.postSend(1);
    let status = -1;
    await until('the control block is there', () => {
      const count = this.cq.poll();
      const { completions } = this.cq;
      for (let i = 0; i < count; i++) if (completions.wrId(i) === 7) status = completions.status(i);
      return status >= 0;
    });
    if (status !== CompletionStatus.SUCCESS) throw new Error(`the control block ends with status ${status}`);
  }

  async close(): Promise<void> {
    this.channel?.destroy();
    await this.server.close();
    this.device.close();
  }
}
