// The client of rping: it advertises its text, lets the server READ it and WRITE it back, and compares.
//
// Invariant: what it answers was counted: each ping went out, came back, and if asked for is the same byte for byte.
import { performance } from 'node:perf_hooks';
import { RdmaError } from '../../core/errors.js';
import { checkInteger } from '../../core/validate.js';
import { connect } from '../../rdmacm/connect.js';
import type { Connection } from '../../rdmacm/connection.js';
import { formatAddress } from '../../rdmacm/socket-address.js';
import { RpingEndpoint } from './endpoint.js';
import { DEFAULT_PORT, DEFAULT_SIZE, fillPing, MAX_SIZE, MIN_SIZE, pingText } from './message.js';

/** What both roles of rping take. */
export interface RpingOptions {
  /** 1 to 65535; default 7174. */
  port?: number | undefined;
  /** Called with the text of each ping. */
  onPing?: ((text: string) => void) | undefined;
  /** Called with what happens. */
  onDebug?: ((words: string) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface RpingClientOptions extends RpingOptions {
  /** Host name or IP address of the server. */
  host: string;
  localAddress?: string | undefined;
  /** Bytes of a ping, 64 to 65536 (rping of rdma-core takes one less); default 64. */
  size?: number | undefined;
  /** Pings, 1 to 2^31 - 1; default until aborted. */
  count?: number | undefined;
  /** Compare what comes back. */
  validate?: boolean | undefined;
  /** How long connecting may take; default 10 000 ms. */
  timeoutMs?: number | undefined;
}

/** What was done. */
export interface RpingResult {
  role: 'client' | 'server';
  device: string;
  localAddress: string | null;
  peerAddress: string | null;
  pings: number;
  /** Of one ping; of the last for a server. */
  sizeBytes: number;
  /** Whether every ping was compared and came back the same. */
  validated: boolean;
  elapsedMs: number;
}

/** @internal */
export function resultOf(role: RpingResult['role'], connection: Connection, startMs: number) {
  const { deviceName: device, localAddress: local, peerAddress: peer } = connection;
  return {
    role,
    device,
    localAddress: local === undefined ? null : formatAddress(local),
    peerAddress: peer === undefined ? null : formatAddress(peer),
    elapsedMs: performance.now() - startMs,
  };
}

/**
 * Plays rping's client, as `rping -c` does.
 *
 * @throws RdmaError as {@link connect}; RDMA_ERR_PROTOCOL when data that came back differs; RDMA_ERR_PEER_GONE;
 *   RDMA_ERR_COMPLETION; RDMA_ERR_ABORTED
 * @see rping(1)
 */
export async function rpingClient(options: RpingClientOptions): Promise<RpingResult> {
  const size = checkInteger('size', options.size ?? DEFAULT_SIZE, MIN_SIZE, MAX_SIZE);
  const count = options.count === undefined ? Infinity : checkInteger('count', options.count, 1, 2 ** 31 - 1);
  const { host, port = DEFAULT_PORT, localAddress, timeoutMs, signal, onDebug } = options;
  let endpoint: RpingEndpoint | undefined;
  try {
    const connection = await connect({
      host,
      port,
      localAddress,
      timeoutMs,
      signal,
      createQueuePair: (where) => {
        onDebug?.(`address and route resolved: device ${where.deviceName}, port ${where.devicePort}`);
        endpoint = new RpingEndpoint(where.deviceName);
        return endpoint.queuePair;
      },
      postReceives: () => endpoint?.postReceives(),
    });
    onDebug?.(`connected: queue pair ${connection.queuePair.qpNum} to ${connection.peerParameters?.qpNum}`);
    await using open = connection;
    return await play(open, endpoint!, { ...options, size, count });
  } finally {
    endpoint?.close();
    onDebug?.('closed');
  }
}

async function play(
  connection: Connection,
  endpoint: RpingEndpoint,
  options: RpingClientOptions & { size: number; count: number },
): Promise<RpingResult> {
  const { size, count, validate = false, onPing, onDebug, signal } = options;
  endpoint.attach(connection, signal);
  const source = endpoint.buffer(size);
  const sink = endpoint.buffer(size);
  const sent = new Uint8Array(source.buffer);
  const back = Buffer.from(sink.buffer);
  const startMs = performance.now();
  let pings = 0;
  for (; pings < count; pings++) {
    fillPing(sent, pings);
    endpoint.send({ address: source.address, rkey: source.rkey, size });
    await endpoint.receive();
    onDebug?.(`ping ${pings}: the server has read it`);
    endpoint.send({ address: sink.address, rkey: sink.rkey, size });
    await endpoint.receive();
    onDebug?.(`ping ${pings}: the server has written it back`);
    if (validate && back.compare(sent) !== 0) {
      throw new RdmaError('RDMA_ERR_PROTOCOL', `ping ${pings} came back different from what was sent`);
    }
    onPing?.(pingText(back));
  }
  return { ...resultOf('client', connection, startMs), pings, sizeBytes: size, validated: validate };
}
