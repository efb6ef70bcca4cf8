// What rdma_cm answers, as errors for people.
//
// Invariant: every failure names the call that led to it and what to do; a rejection carries the reason and what the
// peer sent with it.
import { constants } from 'node:os';
import { errnoError, isRdmaError, RdmaError, type RdmaErrorDetails, systemCode } from '../core/errors.js';
import { type CmEvent, type CmEventName, cmEventWords } from './cm-events.js';

const { ENODEV, ENOENT, ENOTSUP, EADDRINUSE, EADDRNOTAVAIL, EINVAL, ETIMEDOUT } = constants.errno;

/** Of IB_CM_REJ_*: what can happen between programs of today. */
const reasons: Readonly<Record<number, string>> = {
  1: 'the peer has no queue pair to give',
  3: 'the peer is out of resources',
  4: 'the peer gave up waiting',
  5: 'the peer does not support the request',
  6: 'the communication id is unknown to the peer',
  8: 'nothing listens on that port',
  9: 'the peer does not support this type of service',
  10: 'the peer still knows an older connection of this queue pair',
  12: 'the GID is not the one of the peer',
  13: 'the LID is not the one of the peer',
  24: 'the peer is to be asked on another port of its fabric',
  25: 'the peer is to be asked on another port of its fabric',
  26: 'the peer does not take this path MTU',
  27: 'the peer answers fewer READs at a time (responderResources)',
  28: 'the program at the other end said no',
  29: 'the peer does not take this RNR retry count',
  30: 'the peer has this communication id already',
  31: 'the peer speaks another version',
};

/** Why a peer rejected, in words. @see InfiniBand Architecture Specification 12.6.7.2 (REJ reasons) */
export function rejectReasonWords(reason: number): string {
  return reasons[reason] ?? `reason ${reason}`;
}

/** The peer rejected the connection: code RDMA_ERR_REJECTED. */
export class ConnectionRejectedError extends RdmaError {
  /** The reason of the REJ message; 28 is the peer's program, 8 is "nothing listens there". */
  readonly reason: number;
  /** What the peer's program sent with it, filled up with zeros to 148 bytes. */
  readonly privateData: Uint8Array;

  constructor(where: string, reason: number, privateData: Uint8Array) {
    const details: RdmaErrorDetails = { syscall: 'rdma_connect' };
    if (reason === 8) details.remedy = 'start the server, or check the port and that it listens over rdma_cm, not TCP';
    super('RDMA_ERR_REJECTED', `${where} has rejected the connection: ${rejectReasonWords(reason)}`, details);
    this.reason = reason;
    this.privateData = privateData;
  }
}

/** The calls that lead to each failing event, with remedies. */
const failures: Partial<Record<CmEventName, { syscall: string; remedy: string }>> = {
  ADDR_ERROR: {
    syscall: 'rdma_resolve_addr',
    remedy: 'check `rdma link` here and that the peer answers on that network (`ip neigh`, `ping`)',
  },
  ROUTE_ERROR: {
    syscall: 'rdma_resolve_route',
    remedy: 'on InfiniBand, check that a subnet manager runs (`sminfo`); on RoCE, that both ends have the same VLAN',
  },
  CONNECT_ERROR: { syscall: 'rdma_connect', remedy: 'check the queue pair and its device' },
  UNREACHABLE: {
    syscall: 'rdma_connect',
    remedy: 'check that the peer has an RDMA device on that address and that UDP port 4791 passes (RoCE v2)',
  },
};

/**
 * The error that an event means for somebody who waits for another one.
 *
 * @param where the peer, for the message
 */
export function eventError(event: CmEvent, where: string): RdmaError {
  if (event.name === 'REJECTED') return new ConnectionRejectedError(where, event.status, event.privateData);
  if (event.name === 'DISCONNECTED') {
    return new RdmaError('RDMA_ERR_PEER_GONE', `${where} has ended the connection`, { syscall: 'rdma_connect' });
  }
  if (event.name === 'DEVICE_REMOVAL') {
    return new RdmaError('RDMA_ERR_NO_DEVICE', cmEventWords(event.name), { remedy: 'close everything made from it' });
  }
  const { syscall, remedy } = failures[event.name] ?? { syscall: 'rdma_get_cm_event', remedy: undefined };
  const errno = event.status === 0 ? -ETIMEDOUT : event.status;
  if (Math.abs(errno) === ENODEV) return noDevice(where, errno, syscall);
  const known = errnoError(errno, syscall);
  return new RdmaError(systemCode(known.code), `${where}: ${cmEventWords(event.name)}`, {
    errno: -Math.abs(errno),
    syscall,
    remedy,
  });
}

function noDevice(where: string, errno: number, syscall: string): RdmaError {
  return new RdmaError('RDMA_ERR_NO_DEVICE', `no RDMA device here has, or leads to, the address ${where}`, {
    errno,
    syscall,
    remedy: 'use the address of an interface that `rdma link` shows with a device',
  });
}

/**
 * The error for a call that was refused.
 *
 * @param where the address that the call was about, if it was about one
 */
export function callError(rc: number, syscall: string, where = ''): RdmaError {
  if (rc === -ENODEV) return noDevice(where, rc, syscall);
  const remedies: Record<number, string> = {
    [EADDRINUSE]: `${where} is taken: choose another port, or end the program that listens there`,
    [EADDRNOTAVAIL]: `${where} is no address of this machine`,
    [EINVAL]: 'the id is not in a state for this call, or not bound to a device',
  };
  return errnoError(rc, syscall, remedies[-rc]);
}

/** The error for a connection manager that cannot be opened. */
export function openError({ errno, why }: { errno: number; why: string }): RdmaError {
  const code = errno === -ENOTSUP ? 'RDMA_ERR_NOT_SUPPORTED' : undefined;
  if (code !== undefined || errno === -ENODEV || errno === -ENOENT) {
    return new RdmaError(code ?? 'RDMA_ERR_NO_DEVICE', `there is no RDMA connection manager: ${why}`, {
      errno,
      syscall: 'rdma_create_event_channel',
    });
  }
  return errnoError(errno, 'rdma_create_event_channel', why);
}

/** Makes a call that may fail because the other side, or the device, has gone already: that is no news. */
export function tolerate(call: () => void): void {
  try {
    call();
  } catch (error) {
    if (!isRdmaError(error)) throw error;
  }
}
