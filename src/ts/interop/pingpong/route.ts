// How the two sides of a pingpong reach each other: by GID or by LID.
//
// Invariant: nothing is assumed about the peer's address; what cannot work is said before the first message.
import { NO_GID, type PingPongAddress } from './bootstrap.js';
import { RdmaError } from '../../core/errors.js';
import { type Device, formatGid, LinkLayer, mtuBytes, type PortAddress } from '../../verbs/index.js';
import type { PingPongSettings } from './settings.js';

/** This side's address. */
export interface Route {
  address: PortAddress;
  /** Whether the peer gets the GID, which makes it use the GID. */
  offersGid: boolean;
  /** What was chosen, for people. */
  words: string;
}

/**
 * Chooses this side's address.
 *
 * @throws RdmaError RDMA_ERR_NO_DEVICE when the port is down or has no usable address; RDMA_ERR_INVALID_ARGUMENT for a
 *   GID index that the port does not have, a LID where there is none, and datagrams longer than the MTU
 */
export function chooseRoute(device: Device, settings: PingPongSettings): Route {
  const { ibPort, gidIndex } = settings;
  const port = device.queryPort(ibPort);
  const where = `port ${ibPort} of ${device.name}`;
  if (settings.type === 'ud' && settings.sizeBytes > mtuBytes(port.activeMtu)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `a datagram of ${settings.sizeBytes} bytes is too long`, {
      remedy: `the MTU of ${where} is ${mtuBytes(port.activeMtu)}`,
    });
  }
  const isInfiniBand = port.linkLayer === LinkLayer.INFINIBAND;
  if (gidIndex === -1 && !isInfiniBand) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${where} has no LID, so peers need a GID`, {
      remedy: 'leave out --gid-idx -1',
    });
  }
  if (gidIndex !== undefined && gidIndex !== -1) {
    const indices = device.queryGidTable(ibPort).map((entry) => entry.index);
    if (!indices.includes(gidIndex)) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${where} has no GID of index ${gidIndex}`, {
        remedy: `it has ${indices.join(', ') || 'none'}`,
      });
    }
  }
  const address = device.portAddress(ibPort, gidIndex === -1 ? undefined : gidIndex);
  const offersGid = !isInfiniBand || (gidIndex !== undefined && gidIndex !== -1);
  const words = offersGid ? `GID ${address.index}, ${formatGid(address.gid)}: ${address.why}` : `LID ${address.lid}`;
  return { address, offersGid, words: `${device.name} port ${ibPort}, ${words}` };
}

/** This side's address as it is on the wire. */
export function offer(route: Route, qpNum: number, psn: number): PingPongAddress {
  return { lid: route.address.lid, qpNum, psn, gid: route.offersGid ? route.address.gid : NO_GID };
}

/**
 * The address to connect to `remote` with.
 *
 * @throws RdmaError RDMA_ERR_PROTOCOL when the peer gave no address of the kind that is needed here
 */
export function towards(route: Route, remote: PingPongAddress): PortAddress {
  const { address } = route;
  const hasGid = remote.gid !== NO_GID;
  if (address.isGlobal && !hasGid) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', 'the peer gave no GID, which is needed on this network', {
      remedy: 'start it with -g INDEX; `onepiece devices` or `ibv_devinfo -v` there shows the indices',
    });
  }
  const isGlobal = hasGid && route.offersGid;
  if (!isGlobal && remote.lid === 0) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', 'the peer gave no LID, and this side uses no GID', {
      remedy: 'give both sides -g INDEX',
    });
  }
  return { ...address, isGlobal };
}
