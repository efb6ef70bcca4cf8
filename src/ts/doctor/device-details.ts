// The details of a device as a plain document.
//
// Invariant: every device has details, even one that cannot be opened or asked: then `problem` says why. Details
// survive JSON: they have no bigint (those are hexadecimal text), and an unknown value is null.
import { errnoError, isRdmaError } from '../core/errors.js';
import { mtuBytes } from '../addon/constants.js';
import {
  atomicWords,
  capabilityNames,
  Device,
  type DeviceAttributes,
  type DeviceListing,
  formatGid,
  linkLayerWords,
  linkRateGbps,
  odpCapabilityNames,
  odpOperationNames,
  physicalStateWords,
  portStateWords,
  type RankedGid,
  rankGids,
} from '../verbs/index.js';
import { native } from '../addon/native.js';

/** One entry of a port's GID table. */
export interface GidDetails {
  index: number;
  /** 32 hexadecimal digits. */
  gid: string;
  /** As people write it. */
  address: string;
  type: string;
  /** The network interface, or "". */
  netdev: string;
  /** An address handle can be made from it. */
  usable: boolean;
  /** Its place in the ranking, or what is wrong with it. */
  why: string;
}

/** A port. */
export interface PortDetails {
  port: number;
  state: string;
  physicalState: string;
  linkLayer: string;
  activeMtuBytes: number;
  maxMtuBytes: number;
  rateGbps: number | null;
  lid: number;
  lidMaskControl: number;
  smLid: number;
  smServiceLevel: number;
  maxMessageBytes: number;
  /** IBV_PORT_* bits. */
  capabilities: string;
  badPkeys: number;
  qkeyViolations: number;
  /** The address that would be used; null: `problem` says why there is none. */
  chosen: { index: number; gid: string; address: string; type: string; netdev: string; why: string } | null;
  problem: string | null;
  gids: GidDetails[];
  /** Null: the device does not tell them, as iWARP ones. */
  pkeys: { index: number; pkey: string }[] | null;
}

/** A device. */
export interface DeviceDetails {
  name: string;
  kind: 'soft' | 'verbs';
  transport: string;
  nodeGuid: string;
  /** Why it cannot be used; then there is nothing below. */
  problem: string | null;
  provider: string | null;
  firmware: string | null;
  numaNode: number | null;
  /** By the names of DeviceAttributes; what is a set of bits, or a code, is also in words. */
  attributes: Record<string, number | string | string[]>;
  ports: PortDetails[];
}

/**
 * Opens a device, asks it everything, and closes it.
 *
 * @returns its details; when it cannot be opened or asked, `problem` says why
 */
export function describeDevice(listing: DeviceListing): DeviceDetails {
  const { name, kind, transport, nodeGuid } = listing;
  const details: DeviceDetails = {
    ...{ name, kind, transport, nodeGuid, problem: null, provider: null, firmware: null, numaNode: null },
    attributes: {},
    ports: [],
  };
  let device: Device | undefined;
  try {
    device = Device.open(name);
    const { attributes } = device;
    details.provider = attributes.provider || null;
    details.firmware = attributes.firmware || null;
    details.numaNode = attributes.numaNode < 0 ? null : attributes.numaNode;
    details.attributes = inWords(attributes);
    for (let port = 1; port <= attributes.portCount; port++) details.ports.push(portOf(device, port));
  } catch (error) {
    if (!isRdmaError(error)) throw error;
    details.problem = error.message;
  } finally {
    device?.close();
  }
  return details;
}

function portOf(device: Device, port: number): PortDetails {
  const attributes = device.queryPort(port);
  const gids = rankGids(device.queryGidTable(port))
    .map((entry) => gidOf(device, port, entry))
    .sort((a, b) => a.index - b.index);
  let chosen: PortDetails['chosen'] = null;
  let problem: string | null = null;
  try {
    const { index, gid, type, netdev, why } = device.portAddress(port);
    chosen = { index, gid, address: formatGid(gid), type, netdev, why };
  } catch (error) {
    if (!isRdmaError(error)) throw error;
    problem = error.message;
  }
  return {
    port,
    state: portStateWords(attributes.state),
    physicalState: physicalStateWords(attributes.physicalState),
    linkLayer: linkLayerWords(attributes.linkLayer),
    activeMtuBytes: mtuBytes(attributes.activeMtu),
    maxMtuBytes: mtuBytes(attributes.maxMtu),
    rateGbps: linkRateGbps(attributes.activeWidth, attributes.activeSpeed) ?? null,
    lid: attributes.lid,
    lidMaskControl: attributes.lidMaskControl,
    smLid: attributes.smLid,
    smServiceLevel: attributes.smServiceLevel,
    maxMessageBytes: attributes.maxMessageBytes,
    capabilities: hex(attributes.capabilities),
    badPkeys: attributes.badPkeys,
    qkeyViolations: attributes.qkeyViolations,
    chosen,
    problem,
    gids,
    pkeys: pkeysOf(device, port),
  };
}

// A device that cannot tell its partition keys is no worse for it.
function pkeysOf(device: Device, port: number): PortDetails['pkeys'] {
  try {
    return device.queryPkeyTable(port).map(({ index, pkey }) => ({ index, pkey: hex(pkey, 4) }));
  } catch (error) {
    if (!isRdmaError(error)) throw error;
    return null;
  }
}

function gidOf(device: Device, port: number, entry: RankedGid): GidDetails {
  const { index, gid, type, netdev, usable, why } = entry;
  const details = { index, gid, address: formatGid(gid), type, netdev, usable, why };
  if (!usable) return details;
  const rc = native().proveGid(device.handle, port, index);
  if (rc === 0) return details;
  const { code } = errnoError(rc, 'ibv_create_ah');
  return { ...details, usable: false, why: `no address handle can be made from it: ${code}` };
}

function inWords(attributes: DeviceAttributes): DeviceDetails['attributes'] {
  const details: DeviceDetails['attributes'] = {};
  for (const [name, value] of Object.entries(attributes) as [string, number | string | bigint][]) {
    details[name] = typeof value === 'bigint' ? hex(value) : value;
  }
  details.nodeGuid = hex(attributes.nodeGuid, 16);
  details.systemImageGuid = hex(attributes.systemImageGuid, 16);
  details.capabilityNames = capabilityNames(attributes.capabilities);
  details.odpCapabilityNames = odpCapabilityNames(attributes.odpCapabilities);
  details.odpRcNames = odpOperationNames(attributes.odpRc);
  details.odpUcNames = odpOperationNames(attributes.odpUc);
  details.odpUdNames = odpOperationNames(attributes.odpUd);
  details.atomicWords = atomicWords(attributes.atomicCapability);
  return details;
}

const hex = (value: number | bigint, digits = 1) => `0x${value.toString(16).padStart(digits, '0')}`;
