// The messages of a pingpong.
//
// Invariant: a queue pair sends again when its last send and a receive have both completed, and stops when this side
// has sent and received as many as were asked for; so each side has at most one message of it under way.
import { RdmaError } from '../../core/errors.js';
import { completionStatusWords } from '../../verbs/index.js';
import type { PingPongSettings } from './settings.js';
import { SEND_WR_ID, type Side } from './side.js';
import type { Waiter } from './waiter.js';

const SEND = 1;
const RECEIVE = 2;

/**
 * Plays.
 *
 * @returns seconds from the first send, or of a server from when it was ready, to the last completion
 * @throws RdmaError RDMA_ERR_COMPLETION for a work request that failed; RDMA_ERR_PROTOCOL for a message of another
 *   size; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
 */
export async function exchange(side: Side, waiter: Waiter, settings: PingPongSettings): Promise<number> {
  const { iterations, queuePairs, sizeBytes, events, type } = settings;
  const isClient = settings.host !== undefined;
  const { cq, payload } = side;
  const { completions } = cq;
  const expectedBytes = payload.receiveBytes;
  const indices = new Map(side.queuePairs.map((qp, index) => [qp.qpNum, index]));
  const pending = new Uint8Array(queuePairs).fill(isClient ? SEND | RECEIVE : RECEIVE);
  let sent = 0;
  let received = 0;

  waiter.restart();
  const begin = performance.now();
  if (isClient) for (let index = 0; index < queuePairs; index++) side.send(index);
  while (sent < iterations || received < iterations) {
    const count = await waiter.next(cq, events);
    for (let i = 0; i < count && (sent < iterations || received < iterations); i++) {
      const wrId = completions.wrId(i);
      const isSend = wrId === SEND_WR_ID;
      const status = completions.status(i);
      if (status !== 0) throw failed(isSend, status);
      const index = indices.get(completions.qpNum(i))!;
      if (isSend) {
        sent++;
      } else {
        const byteLength = completions.byteLength(i);
        side.postedReceives--;
        if (!side.isFromPeer(completions.sourceQp(i))) {
          payload.discard(wrId);
          side.postReceives();
          continue;
        }
        if (byteLength !== expectedBytes) throw otherSize(byteLength - expectedBytes + sizeBytes, sizeBytes);
        received++;
        payload.received(wrId, index);
        if (side.postedReceives <= queuePairs) side.postReceives();
      }
      pending[index]! &= isSend ? ~SEND : ~RECEIVE;
      if (pending[index] === 0 && sent < iterations) {
        side.send(index);
        pending[index] = SEND | RECEIVE;
      }
    }
  }
  return (performance.now() - begin) / 1000;

  function failed(isSend: boolean, status: number): RdmaError {
    const what = isSend ? 'a send' : 'a receive';
    const remedy = isSend ? 'has the peer ended?' : 'give both sides the same --size';
    return new RdmaError('RDMA_ERR_COMPLETION', `${what} of ${type} failed: ${completionStatusWords(status)}`, {
      remedy,
    });
  }
}

function otherSize(theirs: number, ours: number): RdmaError {
  return new RdmaError('RDMA_ERR_PROTOCOL', `the peer sends messages of ${theirs} bytes, this side of ${ours}`, {
    remedy: 'give both sides the same --size',
  });
}
