// The device by which a place reaches another one, and the reason.
//
// Invariant: the choice is pure and depends on the two addresses alone, so both ends and every operator come to the
// same answer. Shared memory beats the network; a subnet that both are on beats routers; after that the sender's order
// decides, then the target's.
import { RdmaError } from '../core/errors.js';
import { type DeviceAddress, LOOPBACK, type PlaceAddress } from './place-address.js';

/** A device that reaches a target. */
export interface Reach {
  /** Index among the sender's devices. */
  readonly own: number;
  /** The target's device, and its bootstrap. */
  readonly target: DeviceAddress;
  /** In words, for operators. */
  readonly why: string;
}

/** How well one device reaches another; undefined: it does not. A smaller rank is better. */
interface Judged {
  readonly rank: number;
  readonly words: string;
}

/**
 * Chooses.
 *
 * @param own where the sender listens itself
 * @param target where the target listens
 * @param name of the target, for the error
 * @returns the best pair of devices
 * @throws RdmaError RDMA_ERR_NO_DEVICE naming the devices of both sides when none reaches it
 */
export function reach(own: PlaceAddress, target: PlaceAddress, name: string): Reach {
  let best: (Judged & { own: number; target: DeviceAddress }) | undefined;
  const isHere = own.machine === target.machine;
  for (const [index, from] of own.devices.entries()) {
    for (const to of target.devices) {
      const judged = judge(from, to, isHere);
      if (judged !== undefined && (best === undefined || judged.rank < best.rank)) {
        best = { ...judged, own: index, target: to };
      }
    }
  }
  if (best === undefined) throw unreachable(own, target, name);
  return { own: best.own, target: best.target, why: best.words };
}

function judge(from: DeviceAddress, to: DeviceAddress, isHere: boolean): Judged | undefined {
  if (from.kind !== to.kind) return undefined;
  // It listens to its own machine only.
  if (!isHere && isLoopback(to.host)) return undefined;
  const isSame = from.fabric !== '' && from.fabric === to.fabric;
  switch (from.kind) {
    case 'soft':
      return isSame ? { rank: 0, words: 'shared memory: the same host and user' } : undefined;
    case 'RoCE v2':
      if (isSame) return { rank: 1, words: `RoCE v2 within ${from.fabric}` };
      if (isIpv4(from.fabric) !== isIpv4(to.fabric)) return undefined;
      return { rank: 2, words: `RoCE v2 from ${from.fabric} to ${to.fabric}, by routers` };
    default:
      return isSame ? { rank: 1, words: `${from.kind} within ${from.fabric}` } : undefined;
  }
}

const isLoopback = (host: string): boolean => host === LOOPBACK || host === '::1';
const isIpv4 = (fabric: string): boolean => fabric.includes('.');

function unreachable(own: PlaceAddress, target: PlaceAddress, name: string): RdmaError {
  const [here, there] = [`here (${own.hostname}) are ${list(own)}`, `there (${target.hostname}) ${list(target)}`];
  const text = `no device reaches ${name}: ${here}, ${there}`;
  const isOnlyLocal = target.devices.some(({ kind, host }) => kind !== 'soft' && isLoopback(host));
  const remedy = isOnlyLocal
    ? 'start that node with --address and an address that other hosts reach'
    : 'soft0 reaches processes of the same host, user and PID namespace; between hosts both need RDMA devices on one fabric';
  return new RdmaError('RDMA_ERR_NO_DEVICE', text, { remedy });
}

function list({ devices }: PlaceAddress): string {
  return devices
    .map(({ device, kind, fabric }) => (kind === 'soft' ? device : `${device} (${kind}, ${fabric})`))
    .join(', ');
}
