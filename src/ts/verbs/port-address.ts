// The address that peers reach a port by.
//
// Invariant: the choice depends on nothing but what is given here, so recorded ports of any hardware can test it; an
// entry is taken only when it could be proved or the caller named it, and what was passed over is said.
import { errnoError, RdmaError } from '../core/errors.js';
import { invalidArgument } from '../core/validate.js';
import { LinkLayer, PORT_ACTIVE } from '../addon/constants.js';
import { formatGid, type GidChoice, type GidEntry, parseGidText, rankGids } from './gid.js';
import type { NativePortAttributes } from '../addon/native.js';
import { portStateWords } from './words.js';

/** How a queue pair of this port is found by peers. */
export interface PortAddress extends GidChoice {
  port: number;
  /** The local identifier on InfiniBand, else 0. */
  lid: number;
  /** Code of the MTU in use (ibv_mtu). */
  mtu: number;
  /** False on an InfiniBand fabric, where the LID is enough. */
  isGlobal: boolean;
}

/** What the choice is made from. */
export interface AddressQuestion {
  device: string;
  port: number;
  attributes: NativePortAttributes;
  table: readonly GidEntry[];
  /** 0 when an address handle can be made from the entry of that index, else a negative errno. */
  prove(index: number): number;
  /** The caller's choice: an index, 32 hexadecimal digits or an IP address. */
  gid?: number | string | undefined;
}

/** Bit 0 of a port's flags: a global routing header is required (IBV_QPF_GRH_REQUIRED). */
const GRH_REQUIRED = 1;
const NO_GID = '0'.repeat(32);

const nameOf = (entry: GidEntry) => `${entry.index} (${entry.type} ${formatGid(entry.gid)})`;

/**
 * The address to use; see Device.portAddress.
 *
 * @throws RdmaError RDMA_ERR_NO_DEVICE when the port is not active or no entry can be used; RDMA_ERR_INVALID_ARGUMENT
 */
export function choosePortAddress(question: AddressQuestion): PortAddress {
  const { device, port, attributes, table, gid } = question;
  const { linkLayer, state, lid, activeMtu, flags } = attributes;
  const onInfiniband = linkLayer === LinkLayer.INFINIBAND;
  if (state !== PORT_ACTIVE) {
    throw new RdmaError('RDMA_ERR_NO_DEVICE', `port ${port} of ${device} is not active but ${portStateWords(state)}`, {
      remedy: onInfiniband
        ? 'look at cable and switch, and whether a subnet manager runs (opensm)'
        : 'bring its link up (ip link set dev NAME up)',
    });
  }
  const routedByLid = onInfiniband && lid !== 0 && (flags & GRH_REQUIRED) === 0;
  const choice = gid !== undefined ? named(question, gid) : routedByLid ? byLid(question) : firstProved(question);
  if (choice === undefined) {
    const entries = table.length === 0 ? 'the GID table is empty' : rejected(question);
    throw new RdmaError('RDMA_ERR_NO_DEVICE', `port ${port} of ${device} has no usable address (GID): ${entries}`, {
      remedy: 'give its network interface an IP address',
    });
  }
  return { ...choice, port, lid, mtu: activeMtu, isGlobal: !routedByLid };
}

function named({ device, port, table }: AddressQuestion, gid: number | string): GidChoice | undefined {
  const digits = typeof gid === 'string' ? parseGidText(gid) : undefined;
  if (typeof gid === 'string' ? digits === undefined : !Number.isInteger(gid) || gid < 0) {
    throw invalidArgument('gid', gid, 'an index of the GID table, 32 hexadecimal digits or an IP address');
  }
  const found = table.filter((entry) => (digits === undefined ? entry.index === gid : entry.gid === digits));
  const [entry] = rankGids(found).filter(({ usable }) => usable);
  if (entry === undefined) {
    const words = `port ${port} of ${device} has no usable GID ${digits === undefined ? `at index ${gid}` : gid}`;
    const there = table.map(nameOf).join(', ') || 'none';
    throw new RdmaError('RDMA_ERR_NO_DEVICE', words, { remedy: `entries of its table: ${there}` });
  }
  return choiceOf(entry, typeof gid === 'number' ? `index ${gid} was asked for` : `${gid} was asked for`);
}

// The LID is what routes; the best GID goes along for people, and for a peer that wants one.
function byLid({ table, attributes }: AddressQuestion): GidChoice {
  const why = `LID ${attributes.lid}: on this InfiniBand fabric it is enough`;
  const [best] = rankGids(table).filter(({ usable }) => usable);
  return best === undefined ? { index: 0, gid: NO_GID, type: 'IB', netdev: '', why } : choiceOf(best, why);
}

function firstProved({ table, prove }: AddressQuestion): GidChoice | undefined {
  const passed: string[] = [];
  for (const entry of rankGids(table)) {
    if (!entry.usable) continue;
    const rc = prove(entry.index);
    if (rc === 0) return choiceOf(entry, [entry.why, ...passed].join('; '));
    passed.push(`passed over ${nameOf(entry)}: no address handle, ${errnoError(rc, 'ibv_create_ah').code}`);
  }
  return undefined;
}

function rejected({ table, prove }: AddressQuestion): string {
  const words = rankGids(table).map((entry) => {
    if (!entry.usable) return `${nameOf(entry)}: ${entry.why}`;
    return `${nameOf(entry)}: no address handle can be made from it, ${errnoError(prove(entry.index), 'ibv_create_ah').code}`;
  });
  return words.join('; ');
}

function choiceOf({ index, gid, type, netdev }: GidEntry, why: string): GidChoice {
  return { index, gid, type, netdev, why };
}
