// The rdma_cm layer: connecting queue pairs by IP address, through the connection manager of the kernel.
export { RdmaError, isRdmaError } from '../core/errors.js';
export { ConnectionRejectedError, rejectReasonWords } from './cm-errors.js';
export { CmEventChannel } from './cm-event-channel.js';
export { type CmEvent, type CmEventName, cmEventWords, type DatagramTarget, type PeerParameters } from './cm-events.js';
export { type ConnectOptions, connect } from './connect.js';
export { Connection, type ConnectionEvents, type ConnectionInfo, type EndReason } from './connection.js';
export { ConnectionId, type IdEvent, IdOption } from './connection-id.js';
export { type AcceptOptions, ConnectionRequest } from './connection-request.js';
export type { WaitOptions } from '../verbs/operation.js';
export { Listener, type ListenOptions, listen } from './listener.js';
export { type ConnectionParameters, PortSpace, PrivateDataBytes } from './parameters.js';
export { type CmSocketAddress, formatAddress } from './socket-address.js';
