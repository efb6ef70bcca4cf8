// What both sides of a connection tell each other, checked.
//
// Invariant: private data that does not fit its message is refused here, before anything is sent.
import { checkBoolean, checkBytes, checkInteger, invalidArgument } from '../core/validate.js';
import { PARAMETER_WORDS, ParameterWord as Word } from './native-cm.js';

/** Which ids find each other (rdma_port_space): TCP connects reliably, UDP finds datagram queue pairs. */
export const PortSpace = { TCP: 0x0106, UDP: 0x0111 } as const;

/**
 * Bytes of private data that each message carries at most, by port space. @see rdma_connect(3), rdma_accept(3),
 * rdma_reject(3)
 */
export const PrivateDataBytes = {
  [PortSpace.TCP]: { connect: 56, accept: 196, reject: 148 },
  [PortSpace.UDP]: { connect: 180, accept: 136, reject: 136 },
} as const;

/** How to connect or accept (rdma_conn_param). */
export interface ConnectionParameters {
  /** Handed to the peer's program: at most 56 bytes from connect, 196 from accept (TCP); 180 and 136 (UDP). */
  privateData?: ArrayBuffer | ArrayBufferView;
  /** READs and atomics of the peer that this side answers at a time, 0 to 255; default 1. */
  responderResources?: number;
  /** READs and atomics that this side may have under way, 0 to 255; default 1. */
  initiatorDepth?: number;
  /** End-to-end flow control, where the hardware has it; default false. */
  flowControl?: boolean;
  /** Retries without an answer, 0 to 7; default 7. */
  retryCount?: number;
  /** Retries for a peer without receives, 0 to 6, 7 for ever; default 7. */
  rnrRetryCount?: number;
  /** Whether the queue pair takes its receives from a shared queue; default false. */
  srq?: boolean;
}

const NO_BYTES = new Uint8Array(0);

/** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkPrivateData(value: ConnectionParameters['privateData'], max: number): Uint8Array {
  if (value === undefined) return NO_BYTES;
  const bytes = checkBytes('privateData', value);
  if (bytes.byteLength > max) {
    throw invalidArgument('privateData', bytes.byteLength, `at most ${max} bytes`);
  }
  return bytes;
}

/** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function encodeParameters(options: ConnectionParameters, qpNum: number): Uint32Array {
  const words = new Uint32Array(PARAMETER_WORDS);
  const set = (name: 'responderResources' | 'initiatorDepth' | 'retryCount' | 'rnrRetryCount', max: number) => {
    const usual = name === 'retryCount' || name === 'rnrRetryCount' ? 7 : 1;
    words[Word[name]] = checkInteger(name, options[name] ?? usual, 0, max);
  };
  set('responderResources', 255);
  set('initiatorDepth', 255);
  set('retryCount', 7);
  set('rnrRetryCount', 7);
  words[Word.flowControl] = Number(checkBoolean('flowControl', options.flowControl ?? false));
  words[Word.srq] = Number(checkBoolean('srq', options.srq ?? false));
  words[Word.qpNum] = checkInteger('qpNum', qpNum, 0, 0xffffff);
  return words;
}
