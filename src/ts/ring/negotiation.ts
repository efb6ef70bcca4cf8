// The negotiation of a lane by an outbox: it offers a queue pair and a control block, and the inbox answers with the
// lane.
//
// Invariant: an answer is accepted only within the limits of the offer; whatever fails on the way, nothing is left
// open.
import { RdmaError } from '../core/errors.js';
import { parseDocument } from '../connect/index.js';
import { AccessFlags, type PortAddress } from '../verbs/index.js';
import { CONTROL_RECEIVES, Connection } from './connection.js';
import { type Answer, Reply, RING_PROTOCOL } from './negotiation-messages.js';
import { DESCRIPTOR_BYTES } from './layout.js';
import type { PullMemory } from './pull-memory.js';
import type { PortChannel, PortCompletionQueue, PortDomain, PortMapping, PortMemory, PortQueuePair } from './port.js';
import { refusal } from './reconnector.js';
import type { RetainedMessages } from './retained-messages.js';

/** Who asks, and for what. */
export interface Negotiator {
  identity: string;
  name: string;
  address: PortAddress;
  pd: PortDomain;
  /** What is mapped ends with it. */
  mappings: PortDomain;
  cq: PortCompletionQueue;
  retained: RetainedMessages;
  pullMemory: PullMemory;
  slots: number;
  dataBytes: number;
  inlineBytes: number;
  /** Asks for a lane that can be mapped. */
  inPlace: boolean;
  checksum: boolean;
  sendDepth: number;
  timeoutMs: number;
  signal: AbortSignal;
  /** The inbox of the connection before this one. */
  lastInbox: string;
}

/**
 * @returns a connection that is ready to send
 * @throws RdmaError with the inbox's refusal; RDMA_ERR_PROTOCOL for an answer that was not offered; RDMA_ERR_TIMEOUT;
 *   what the device throws
 */
export async function negotiate(channel: PortChannel, who: Negotiator): Promise<Connection> {
  const staging = who.pd.registerMemory({
    bytes: DESCRIPTOR_BYTES + who.slots * (DESCRIPTOR_BYTES + who.inlineBytes),
    access: AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE,
  });
  try {
    return await negotiateWith(channel, who, staging);
  } catch (error) {
    staging.close();
    throw error;
  }
}

async function negotiateWith(channel: PortChannel, who: Negotiator, staging: PortMemory): Promise<Connection> {
  const { address, retained, pullMemory, sendDepth, checksum } = who;
  const qp = who.pd.createQueuePair({ sendCq: who.cq, maxSendWr: sendDepth, maxRecvWr: CONTROL_RECEIVES });
  try {
    qp.toInit(address, AccessFlags.REMOTE_WRITE | AccessFlags.REMOTE_READ);
    qp.postEmptyReceives(CONTROL_RECEIVES);
    channel.send({
      type: 'offer',
      protocol: RING_PROTOCOL,
      transport: address.type === 'soft' ? 'soft' : 'verbs',
      producer: who.identity,
      inbox: who.lastInbox,
      name: who.name,
      slots: who.slots,
      dataBytes: who.dataBytes,
      inlineBytes: who.inlineBytes,
      retainMessages: retained.capacity,
      acknowledged: retained.acknowledged,
      inPlace: who.inPlace,
      control: { address: staging.address, rkey: staging.rkey },
      endpoint: qp.endpoint(address),
    });
    const document = await channel.receive({ timeoutMs: who.timeoutMs, signal: who.signal });
    const lane = parseDocument(Reply, document, 'answer');
    if (lane.type === 'error') throw refusal(lane.code, lane.message);
    checkAnswer(lane, who);
    qp.toReadyToReceive(address, lane.endpoint);
    qp.toReadyToSend();
    const mapping = lane.inPlace ? mapLane(qp, lane, who.mappings) : undefined;
    return new Connection({ channel, qp, lane, retained, pullMemory, staging, mapping, sendDepth, checksum });
  } catch (error) {
    qp.close();
    throw error;
  }
}

function checkAnswer(lane: Answer, who: Negotiator): void {
  const { retained } = who;
  const low = lane.inbox === who.lastInbox ? retained.acknowledged : 0;
  const sane = lane.slots <= who.slots && lane.dataBytes <= who.dataBytes && (who.inPlace || !lane.inPlace);
  const shows = lane.inPlace ? lane.inlineBytes === 0 || lane.polled : lane.inlineBytes > 0 || !lane.polled;
  if (
    !sane ||
    !shows ||
    lane.inlineBytes > who.inlineBytes ||
    lane.delivered < low ||
    lane.delivered > retained.last ||
    lane.acknowledged > lane.delivered
  ) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', 'the inbox answers with numbers that were not offered');
  }
  if (lane.delivered < retained.acknowledged) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', 'the inbox asks for messages that it has acknowledged');
  }
}

// All of a lane that is polled: descriptors are stored too. Of another one its data ring.
function mapLane(qp: PortQueuePair, lane: Answer, owner: PortDomain): PortMapping {
  const { memory, slots, dataBytes, inlineBytes, polled } = lane;
  const slotRing = slots * (DESCRIPTOR_BYTES + inlineBytes);
  if (polled) return qp.mapRemote(memory.address, memory.rkey, slotRing + dataBytes, owner);
  return qp.mapRemote(memory.address + slotRing, memory.rkey, dataBytes, owner);
}
