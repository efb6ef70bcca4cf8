// A pingpong from beginning to end, against one of our own or a program of rdma-core.
//
// Invariant: whatever happens, the device is closed and no socket or timer is left.
import type { PingPongAddress } from './bootstrap.js';
import { exchange } from './exchange.js';
import { askPingPong, servePingPong } from './peer.js';
import type { PingPongResult } from './report.js';
import { type PingPongOptions, pingPongSettings } from './settings.js';
import { Side } from './side.js';
import { Waiter } from './waiter.js';

/** What becomes known on the way. */
export interface PingPongProgress {
  /** The device and address that are used, for people. */
  onRoute?: (words: string) => void;
  onLocal?: (addresses: readonly PingPongAddress[]) => void;
  onListening?: (port: number) => void;
  onRemote?: (addresses: readonly PingPongAddress[]) => void;
}

/**
 * Plays pingpong: as the server without `host`, else as the client.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_NO_DEVICE; ENOTSUP for a type that the device has not;
 *   EADDRINUSE, ECONNREFUSED and their like; RDMA_ERR_PROTOCOL; RDMA_ERR_PEER_GONE; RDMA_ERR_COMPLETION;
 *   RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
 */
export async function pingPong(
  options: PingPongOptions,
  progress: PingPongProgress = {},
  signal?: AbortSignal,
): Promise<PingPongResult> {
  const settings = pingPongSettings(options);
  const { type, host, port, timeoutMs, acceptTimeoutMs, sizeBytes, iterations, queuePairs, events } = settings;
  const waiter = new Waiter(timeoutMs, signal);
  const side = new Side(settings, waiter.wake);
  side.channel?.keepAlive(true);
  try {
    progress.onRoute?.(side.route.words);
    const { local, addressCount: count } = side;
    progress.onLocal?.(local);
    let addresses: PingPongAddress[];
    const common = { local, count, timeoutMs, signal };
    if (host === undefined) {
      const { onListening } = progress;
      const connect = (remote: readonly PingPongAddress[]) => side.connect(remote);
      addresses = await servePingPong({ ...common, port, acceptTimeoutMs, onListening, connect });
    } else {
      addresses = await askPingPong({ host, port }, common);
      side.connect(addresses);
    }
    const remote = addresses.slice(0, queuePairs);
    progress.onRemote?.(remote);
    const seconds = await exchange(side, waiter, settings);
    const { invalidMessages, invalidPages } = side.payload;
    return {
      type,
      role: host === undefined ? 'server' : 'client',
      device: side.device.name,
      local,
      remote,
      sizeBytes,
      iterations,
      queuePairs,
      events,
      seconds,
      invalidMessages: settings.check ? invalidMessages : null,
      invalidPages: [...invalidPages].sort((a, b) => a - b),
    };
  } finally {
    waiter.close();
    side.close();
  }
}
