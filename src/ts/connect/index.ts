// Invariant: this is all that other layers may use of connect; the wire and the handshake stay inside.

export { type ConnectBootstrapOptions, connectBootstrap } from './bootstrap-client.js';
export {
  type BootstrapCounters,
  BootstrapServer,
  type BootstrapServerOptions,
  type Rejection,
} from './bootstrap-server.js';
export { BootstrapChannel, type ReceiveOptions } from './channel.js';
export { parseDocument } from './document.js';
export { MAX_BODY_BYTES as MAX_DOCUMENT_BYTES } from './frame.js';
export type { RejectionReason } from './pending-peer.js';
export type { SocketAddress } from './socket-error.js';
export { TLS_FILES, TlsIdentity, type TlsMaterial } from './tls-identity.js';
