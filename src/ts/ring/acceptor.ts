// The entrance for producers: it takes an offer from a bootstrap channel, and answers with a lane or a refusal.
//
// Invariant: the old lane of a producer is fenced before a new one is made; a producer that gets no lane learns why,
// and leaves nothing behind.
import { parseDocument } from '../connect/index.js';
import { RdmaError } from '../core/errors.js';
import type { Admission } from './admission.js';
import { notify } from './callback.js';
import type { CondemnedLanes } from './condemned-lanes.js';
import { Offer, Ready } from './negotiation-messages.js';
import type { Fencing } from './fencing.js';
import type { InboxEnd } from './inbox-end.js';
import type { LaneEvent } from './inbox-options.js';
import { Lane, type LaneHost } from './lane.js';
import type { PolledLanes } from './polled-lanes.js';
import type { PortChannel, PortCompletionQueue } from './port.js';
import type { Pulls } from './pulls.js';
import type { InboxCounters } from './status.js';

const HANDSHAKE_TIMEOUT_MS = 5000;

/** Where a new lane has to be known. */
export interface AcceptorParts {
  /** Of the inbox. */
  identity: string;
  host: LaneHost;
  lanesByQp: Map<number, Lane>;
  channels: Map<Lane, PortChannel>;
  admission: Admission;
  fencing: Fencing;
  condemned: CondemnedLanes;
  polled: PolledLanes;
  pulls: Pulls;
  counters: InboxCounters;
  onLane: ((event: LaneEvent) => void) | undefined;
  end: InboxEnd;
  /** Without it no lane can be fenced any more. */
  cq: PortCompletionQueue;
}

export class Acceptor {
  private readonly parts: AcceptorParts;

  constructor(parts: AcceptorParts) {
    this.parts = parts;
  }

  /** Deals with a producer; never rejects. */
  async accept(channel: PortChannel): Promise<void> {
    const { channels, condemned, pulls, identity, onLane } = this.parts;
    let from = channel.peerName;
    let producer = '';
    try {
      const offer = parseDocument(Offer, await channel.receive({ timeoutMs: HANDSHAKE_TIMEOUT_MS }), 'offer');
      from = offer.name;
      producer = offer.producer;
      const lane = await this.openLane(offer);
      channels.set(lane, channel);
      channel.onClose = (error) =>
        condemned.condemn(lane, error ?? new RdmaError('RDMA_ERR_PEER_GONE', `${from} closed its outbox`));
      channel.onMessage = (document) => {
        parseDocument(Ready, document, 'ready');
        if (lane.fenced) return;
        lane.onReady();
        pulls.proceed(lane.progress);
      };
      channel.send(lane.answer(identity));
      notify(onLane, { type: 'open', from, producer });
    } catch (error) {
      this.refuse(channel, from, producer, error);
    }
  }

  private refuse(channel: PortChannel, from: string, producer: string, error: unknown): void {
    const { counters, onLane } = this.parts;
    counters.refused++;
    const reason = error instanceof RdmaError ? error : new RdmaError('RDMA_ERR_PROTOCOL', String(error));
    try {
      channel.send({ type: 'error', code: reason.code, message: reason.message.slice(0, 1000) });
    } catch {
      // The channel is gone: nobody is there to hear it.
    }
    channel.close();
    notify(onLane, { type: 'refused', from, producer, reason, count: 1 });
  }

  private async openLane(offer: Offer): Promise<Lane> {
    const { admission, fencing, host, lanesByQp, polled, counters, end, cq } = this.parts;
    end.checkTaking();
    admission.checkTransport(offer);
    // Again after each wait: the producer may have come twice in the meantime.
    for (let old = admission.laneOf(offer.producer); old !== undefined; ) {
      if (cq.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'the device of the inbox is closed');
      await fencing.fenceAndWait(old, new RdmaError('RDMA_ERR_FENCED', `${old.progress.name} came again`));
      old = admission.laneOf(offer.producer);
    }
    end.checkTaking();
    const { id, progress, shape } = admission.admit(offer);
    const lane = new Lane(id, progress, host, offer, shape);
    lanesByQp.set(lane.qp.qpNum, lane);
    admission.add(lane);
    if (lane.polled) polled.add(lane);
    counters.lanesOpened++;
    return lane;
  }
}
