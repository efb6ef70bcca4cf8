// An address handle: where a datagram goes.
//
// Invariant: it belongs to one protection domain; a work request names it by its number, and a number that is closed is
// refused when it is posted.
import { checkInteger } from '../core/validate.js';
import type { PortAddress } from './port-address.js';
import { errnoError } from '../core/errors.js';
import { native, PATH_WORDS, PathWord } from '../addon/native.js';
import type { ProtectionDomain } from './protection-domain.js';
import { parseGid } from './qp-attributes.js';
import { Resource } from './resource.js';

/** A way to a peer (ibv_ah_attr). */
export interface AddressVector {
  /** Port of this device, 1 to 255; default 1. */
  port?: number;
  /** Destination GID, 32 hexadecimal digits; needed when `isGlobal`. */
  destGid?: string;
  /** Destination LID on InfiniBand, 0 to 65535; default 0. */
  destLid?: number;
  /** Whether packets carry a global routing header: always on RoCE. Default: whether there is a `destGid`. */
  isGlobal?: boolean;
  /** Entry of this port's GID table that packets come from, 0 to 255; default 0. */
  gidIndex?: number;
  /** 0 to 255; default 64. */
  hopLimit?: number;
  /** 0 to 15; default 0. */
  serviceLevel?: number;
  /** 0 to 255; default 0. */
  trafficClass?: number;
  /** 20 bits; default 0. */
  flowLabel?: number;
  /** 0 to 127; default 0. */
  sourcePathBits?: number;
}

/**
 * The way from a port of this device to a peer.
 *
 * @param address of this side, from {@link Device.portAddress}
 * @param remote the peer's GID and LID, as in a QueuePairEndpoint
 */
export function pathTo(address: PortAddress, remote: { gid: string; lid: number }): AddressVector {
  return {
    port: address.port,
    isGlobal: address.isGlobal,
    destGid: remote.gid,
    destLid: remote.lid,
    gidIndex: address.index,
  };
}

/** Made by {@link ProtectionDomain.createAddressHandle}. */
export class AddressHandle extends Resource {
  /** What work requests name it by. */
  readonly number: number;

  /** @internal */
  constructor(pd: ProtectionDomain, path: AddressVector) {
    const words = new Uint32Array(PATH_WORDS);
    const isGlobal = path.isGlobal ?? path.destGid !== undefined;
    words[PathWord.port] = checkInteger('port', path.port ?? 1, 1, 255);
    words[PathWord.destLid] = checkInteger('destLid', path.destLid ?? 0, 0, 0xffff);
    words[PathWord.isGlobal] = Number(isGlobal);
    words[PathWord.gidIndex] = checkInteger('gidIndex', path.gidIndex ?? 0, 0, 255);
    words[PathWord.hopLimit] = checkInteger('hopLimit', path.hopLimit ?? 64, 0, 255);
    words[PathWord.serviceLevel] = checkInteger('serviceLevel', path.serviceLevel ?? 0, 0, 15);
    words[PathWord.trafficClass] = checkInteger('trafficClass', path.trafficClass ?? 0, 0, 255);
    words[PathWord.flowLabel] = checkInteger('flowLabel', path.flowLabel ?? 0, 0, 0xfffff);
    words[PathWord.sourcePathBits] = checkInteger('sourcePathBits', path.sourcePathBits ?? 0, 0, 127);
    const gid = path.destGid === undefined && !isGlobal ? new Uint8Array(16) : parseGid(String(path.destGid));
    const result = native().createAh(pd.handle, words, gid);
    if (typeof result === 'number') throw errnoError(result, 'ibv_create_ah', 'is the peer reachable from this port?');
    super(result.handle, 'address handle', 'ibv_destroy_ah', [pd]);
    this.number = result.number;
  }
}
