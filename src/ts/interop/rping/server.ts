// The server of rping: it READs what a client advertises and WRITEs it back.
//
// Invariant: a client that breaks the protocol ends its own connection only.
import { performance } from 'node:perf_hooks';
import { isRdmaError, RdmaError } from '../../core/errors.js';
import type { Connection } from '../../rdmacm/connection.js';
import type { ConnectionRequest } from '../../rdmacm/connection-request.js';
import { listen } from '../../rdmacm/listener.js';
import { formatAddress } from '../../rdmacm/socket-address.js';
import { type RpingOptions, type RpingResult, resultOf } from './client.js';
import { RpingEndpoint } from './endpoint.js';
import { checkAdvertisement, DEFAULT_PORT, fillPing, MAX_SIZE, pingText } from './message.js';

export interface RpingServerOptions extends RpingOptions {
  /** Address to listen on; default every IPv4 address. */
  host?: string | undefined;
  /** Compare what was read with what rping's clients send. */
  validate?: boolean | undefined;
  /** Serve one client after the other, and several at once, until aborted; `onResult` gets each end. */
  persistent?: boolean | undefined;
  onResult?: ((result: RpingResult | RdmaError) => void) | undefined;
  /** Called when it listens. */
  onListening?: ((address: string) => void) | undefined;
}

/**
 * Plays rping's server, as `rping -s` does: for one client, or with `persistent` until aborted.
 *
 * @returns what the client did; undefined when persistent
 * @throws RdmaError as {@link listen} and {@link ConnectionRequest.accept}; RDMA_ERR_PEER_GONE when the client leaves
 *   in the middle of a ping; RDMA_ERR_PROTOCOL; RDMA_ERR_COMPLETION; RDMA_ERR_ABORTED
 * @see rping(1)
 */
export async function rpingServer(options: RpingServerOptions = {}): Promise<RpingResult | undefined> {
  const { host = '0.0.0.0', port = DEFAULT_PORT, signal, onDebug, onListening, persistent = false, onResult } = options;
  if (signal?.aborted) throw aborted();
  using listener = await listen({ host, port });
  const onAbort = () => listener.close();
  signal?.addEventListener('abort', onAbort, { once: true });
  const serving = new Set<Promise<void>>();
  try {
    onDebug?.(`listening on ${formatAddress(listener.address)}`);
    onListening?.(formatAddress(listener.address));
    for await (const request of listener) {
      if (!persistent) return await serve(request, options);
      const served: Promise<void> = serve(request, options)
        .then(onResult, (error) => {
          if (!isRdmaError(error)) throw error;
          onResult?.(error);
        })
        .finally(() => serving.delete(served));
      serving.add(served);
    }
    throw aborted();
  } finally {
    signal?.removeEventListener('abort', onAbort);
    await Promise.allSettled(serving);
  }
}

function aborted(): RdmaError {
  return new RdmaError('RDMA_ERR_ABORTED', 'the rping server was aborted');
}

async function serve(request: ConnectionRequest, options: RpingServerOptions): Promise<RpingResult> {
  const { onDebug, signal } = options;
  onDebug?.(`request from ${request.peerAddress && formatAddress(request.peerAddress)} on ${request.deviceName}`);
  let endpoint: RpingEndpoint;
  try {
    endpoint = new RpingEndpoint(request.deviceName);
  } catch (error) {
    request.reject();
    throw error;
  }
  try {
    const { queuePair, postReceives } = endpoint;
    await using connection = await request.accept({ queuePair, postReceives, signal });
    onDebug?.(`connected: queue pair ${queuePair.qpNum} to ${request.peerParameters?.qpNum}`);
    return await answer(connection, endpoint, options);
  } finally {
    endpoint.close();
    onDebug?.('closed');
  }
}

async function answer(
  connection: Connection,
  endpoint: RpingEndpoint,
  options: RpingServerOptions,
): Promise<RpingResult> {
  const { validate = false, onPing, onDebug, signal } = options;
  endpoint.attach(connection, signal);
  const memory = endpoint.buffer(MAX_SIZE);
  const bytes = Buffer.from(memory.buffer);
  const expected = Buffer.alloc(MAX_SIZE);
  const goAhead = { address: 0, rkey: 0, size: 0 };
  const startMs = performance.now();
  let sizeBytes = 0;
  let pings = 0;
  for (; ; pings++) {
    const source = await endpoint.receive().catch((error) => {
      // Between two pings a client may leave.
      if (isRdmaError(error) && error.code === 'RDMA_ERR_PEER_GONE') return undefined;
      throw error;
    });
    if (source === undefined) break;
    sizeBytes = checkAdvertisement(source).size;
    await endpoint.transfer('read', memory, sizeBytes, source);
    onDebug?.(`ping ${pings}: read ${sizeBytes} bytes`);
    const data = bytes.subarray(0, sizeBytes);
    if (validate) {
      fillPing(expected.subarray(0, sizeBytes), pings);
      if (data.compare(expected, 0, sizeBytes) !== 0) {
        throw new RdmaError('RDMA_ERR_PROTOCOL', `ping ${pings} is not what a client of rping sends`);
      }
    }
    onPing?.(pingText(data));
    endpoint.send(goAhead);
    const sink = checkAdvertisement(await endpoint.receive());
    await endpoint.transfer('write', memory, Math.min(sizeBytes, sink.size), sink);
    onDebug?.(`ping ${pings}: written back`);
    endpoint.send(goAhead);
  }
  return { ...resultOf('server', connection, startMs), pings, sizeBytes, validated: validate };
}
