// What a pingpong is asked to do.
//
// Invariant: defaults and bounds are those of ibv_rc_pingpong, ibv_uc_pingpong, ibv_ud_pingpong and ibv_srq_pingpong
// (their man pages; where page and program differ, as in the size of ud, the program).
import { RdmaError } from '../../core/errors.js';
import { checkBoolean, checkInteger, checkOneOf, checkString } from '../../core/validate.js';
import { PINGPONG_PORT, PINGPONG_SRQ_ADDRESSES } from './bootstrap.js';
import { mtuBytes } from '../../verbs/index.js';

export const pingPongTypes = ['rc', 'uc', 'ud', 'srq'] as const;
export type PingPongType = (typeof pingPongTypes)[number];

export const DEFAULT_TIMEOUT_MS = 30_000;

export interface PingPongOptions {
  /** The server's name or address; undefined makes this side the server. */
  host?: string | undefined;
  type?: PingPongType | undefined;
  /** Name of the RDMA device; default the first one found. */
  device?: string | undefined;
  /** Port of the RDMA device, 1 to 255; default 1. */
  ibPort?: number | undefined;
  /** Entry of its GID table; -1 for none (LID only, on InfiniBand). Default: chosen on Ethernet, none on InfiniBand. */
  gidIndex?: number | undefined;
  /** TCP port of the server, 0 to 65535; default 18515. */
  port?: number | undefined;
  /** Bytes of a message, 1 to 2^31 - 1; default 4096, of ud 1024. */
  sizeBytes?: number | undefined;
  /** Path MTU in bytes, 256, 512, 1024, 2048 or 4096; default 1024. Not of ud. */
  mtuBytes?: number | undefined;
  /** Receives to keep posted, 1 to 32768; default 500. */
  receiveDepth?: number | undefined;
  /** Messages each way, in total, 1 to 2^31 - 1; default 1000. */
  iterations?: number | undefined;
  /** 0 to 15; default 0. */
  serviceLevel?: number | undefined;
  /** Queue pairs of the type srq, 1 to 255; default 16. */
  queuePairs?: number | undefined;
  /** Sleeps until completions come, instead of polling; default false. */
  events?: boolean | undefined;
  /** Validates every message that comes; default false. */
  check?: boolean | undefined;
  /**
   * Longest silence of the peer, 1 to 2^31 - 1; default 30 000. A server waits for its client without limit unless this
   * is given.
   */
  timeoutMs?: number | undefined;
}

/** Options with their defaults, checked. */
export interface PingPongSettings {
  readonly host: string | undefined;
  readonly type: PingPongType;
  readonly device: string | undefined;
  readonly ibPort: number;
  readonly gidIndex: number | undefined;
  readonly port: number;
  readonly sizeBytes: number;
  /** Code of the path MTU (ibv_mtu). */
  readonly mtu: number;
  readonly receiveDepth: number;
  readonly iterations: number;
  readonly serviceLevel: number;
  readonly queuePairs: number;
  readonly events: boolean;
  readonly check: boolean;
  readonly timeoutMs: number;
  readonly acceptTimeoutMs: number | undefined;
}

const MTU_CODES = [1, 2, 3, 4, 5];
const MAX_I32 = 2 ** 31 - 1;

/** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for what is out of bounds, or not an option of this type */
export function pingPongSettings(options: PingPongOptions): PingPongSettings {
  const { host, device, gidIndex, timeoutMs } = options;
  const type = checkOneOf('type', options.type ?? 'rc', pingPongTypes);
  if (host !== undefined) checkString('host', host, { minLength: 1, maxLength: 255 });
  if (type === 'ud' && options.mtuBytes !== undefined) throw notOf('mtuBytes', type);
  if (type !== 'srq' && options.queuePairs !== undefined) throw notOf('queuePairs', type);
  const mtu = checkOneOf('mtuBytes', options.mtuBytes ?? 1024, MTU_CODES.map(mtuBytes));
  const queuePairs =
    type === 'srq' ? checkInteger('queuePairs', options.queuePairs ?? 16, 1, PINGPONG_SRQ_ADDRESSES - 1) : 1;
  return {
    host,
    type,
    device,
    ibPort: checkInteger('ibPort', options.ibPort ?? 1, 1, 255),
    gidIndex: gidIndex === undefined ? undefined : checkInteger('gidIndex', gidIndex, -1, 255),
    port: checkInteger('port', options.port ?? PINGPONG_PORT, host === undefined ? 0 : 1, 65535),
    sizeBytes: checkInteger('sizeBytes', options.sizeBytes ?? (type === 'ud' ? 1024 : 4096), 1, MAX_I32),
    mtu: MTU_CODES.find((code) => mtuBytes(code) === mtu)!,
    // One receive for each queue pair at least, as each has a message under way.
    receiveDepth: checkInteger('receiveDepth', options.receiveDepth ?? 500, queuePairs, 32768),
    iterations: checkInteger('iterations', options.iterations ?? 1000, 1, MAX_I32),
    serviceLevel: checkInteger('serviceLevel', options.serviceLevel ?? 0, 0, 15),
    queuePairs,
    events: checkBoolean('events', options.events ?? false),
    check: checkBoolean('check', options.check ?? false),
    timeoutMs: checkInteger('timeoutMs', timeoutMs ?? DEFAULT_TIMEOUT_MS, 1, MAX_I32),
    acceptTimeoutMs: timeoutMs,
  };
}

function notOf(name: string, type: PingPongType): RdmaError {
  return new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${name} is not an option of the type ${type}`);
}
