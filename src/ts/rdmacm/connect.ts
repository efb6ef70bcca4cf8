// Connecting by address.
//
// Invariant: connect() ends in exactly one of two ways: with a connection, or with an error and neither an id nor a
// queue pair left behind.
import { checkFunction, checkInteger, checkObject, checkString } from '../core/validate.js';
import { QpState } from '../addon/constants.js';
import { QueuePair } from '../verbs/queue-pair.js';
import { CmEventChannel } from './cm-event-channel.js';
import { Connection, type ConnectionInfo } from './connection.js';
import { type ConnectionId, IdOption } from './connection-id.js';
import type { WaitOptions } from '../verbs/operation.js';
import { Deadline } from '../core/deadline.js';
import {
  type ConnectionParameters,
  checkPrivateData,
  encodeParameters,
  PortSpace,
  PrivateDataBytes,
} from './parameters.js';
import { encodeAddress, formatAddress, resolveHost } from './socket-address.js';

/** How to connect. */
export interface ConnectOptions extends ConnectionParameters, WaitOptions {
  /** Host name or IP address of an RDMA interface; `fe80::1%eth0` names the interface too. */
  host: string;
  /** 1 to 65535, in the port space of rdma_cm, which is not TCP's. */
  port: number;
  /** IP address of this side; default as the routing table says. */
  localAddress?: string | undefined;
  /** How long everything together may take; default 10 000 ms. */
  timeoutMs?: number | undefined;
  /** RFC 2474 traffic class, 0 to 255. */
  typeOfService?: number | undefined;
  /** Time for an answer to a packet, 4.096 us * 2^ackTimeout, 0 to 31; default as the route says. */
  ackTimeout?: number | undefined;
  /**
   * Makes the queue pair, on the device `where.deviceName`, in the RESET state. The connection takes it over: it closes
   * with the connection, or when connecting fails.
   */
  createQueuePair: (where: ConnectionInfo) => QueuePair | Promise<QueuePair>;
  /** Posts the receives that the peer's first messages need: the queue pair is in the INIT state. */
  postReceives?: ((queuePair: QueuePair) => void) | undefined;
}

const DEFAULT_TIMEOUT_MS = 10_000;
/** The kernel's own limit on one step; ours is the deadline. */
const STEP_MS = 60_000;

/**
 * Connects a queue pair to a listener.
 *
 * @returns the connection; its `privateData` is what the listener's accept() sent
 * @throws RdmaError RDMA_ERR_REJECTED (a {@link ConnectionRejectedError} with reason and private data);
 *   RDMA_ERR_NO_DEVICE when no RDMA device leads there; ETIMEDOUT, EHOSTUNREACH, ENETUNREACH when the peer cannot be
 *   reached; ENOTFOUND; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED; RDMA_ERR_NOT_SUPPORTED without librdmacm;
 *   RDMA_ERR_INVALID_ARGUMENT; what `createQueuePair` throws
 * @see rdma_connect(3); rdma_cm(7), "Client operation"
 */
export async function connect(options: ConnectOptions): Promise<Connection> {
  checkObject('options', options);
  const host = checkString('host', options.host, { minLength: 1, maxLength: 255 });
  const port = checkInteger('port', options.port, 1, 65535);
  checkFunction('createQueuePair', options.createQueuePair);
  if (options.postReceives !== undefined) checkFunction('postReceives', options.postReceives);
  checkPrivateData(options.privateData, PrivateDataBytes[PortSpace.TCP].connect);
  encodeParameters(options, 0);
  const { localAddress, timeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
  const source = localAddress === undefined ? undefined : { address: localAddress, port: 0 };
  if (source !== undefined) encodeAddress('localAddress', source);
  const deadline = new Deadline({ timeoutMs, signal }, `connecting to ${host}:${port}`);
  deadline.check();

  const address = await deadline.wait(resolveHost(host, port));
  const id = CmEventChannel.shared().createId();
  id.channel.hold();
  let queuePair: QueuePair | undefined;
  try {
    if (options.typeOfService !== undefined) id.setOption(IdOption.TYPE_OF_SERVICE, options.typeOfService);
    if (options.ackTimeout !== undefined) id.setOption(IdOption.ACK_TIMEOUT, options.ackTimeout);
    id.resolveAddress(address, deadline.leftMs(STEP_MS), source);
    await id.waitFor(['ADDR_RESOLVED'], deadline);
    id.resolveRoute(deadline.leftMs(STEP_MS));
    await id.waitFor(['ROUTE_RESOLVED'], deadline);
    queuePair = await makeQueuePair(options, id, deadline);
    return await establish(options, id, queuePair, deadline);
  } catch (error) {
    queuePair?.close();
    id.close();
    throw error;
  } finally {
    id.channel.release();
  }
}

async function makeQueuePair(options: ConnectOptions, id: ConnectionId, deadline: Deadline): Promise<QueuePair> {
  const { deviceName, devicePort, localAddress, peerAddress } = id;
  const made = Promise.resolve(options.createQueuePair({ deviceName, devicePort, localAddress, peerAddress }));
  // One that comes after the deadline has nobody to close it but us.
  const queuePair = await deadline.wait(made, () => void made.then((late) => late.close()).catch(() => undefined));
  try {
    id.checkQueuePair(queuePair);
    return queuePair;
  } catch (error) {
    if (queuePair instanceof QueuePair) queuePair.close();
    throw error;
  }
}

async function establish(
  options: ConnectOptions,
  id: ConnectionId,
  queuePair: QueuePair,
  deadline: Deadline,
): Promise<Connection> {
  id.prepare(queuePair, QpState.INIT);
  options.postReceives?.(queuePair);
  id.connect(queuePair.qpNum, options);
  const answer = await id.waitFor(['CONNECT_RESPONSE', 'ESTABLISHED'], deadline);
  // On iWARP the driver has connected the queue pair by itself.
  if (answer.name === 'CONNECT_RESPONSE') {
    // Once more INIT, now with the rights that READs of the peer need.
    id.prepare(queuePair, QpState.INIT);
    id.prepare(queuePair, QpState.READY_TO_RECEIVE);
    id.prepare(queuePair, QpState.READY_TO_SEND);
    id.establish();
  }
  return new Connection(id, queuePair, answer.privateData, answer.parameters);
}

/** The address of a connection for people: `10.0.0.2:7174`, or `unknown`. */
export function peerName({ peerAddress }: Pick<ConnectionInfo, 'peerAddress'>): string {
  return peerAddress === undefined ? 'unknown' : formatAddress(peerAddress);
}
