// What a device says about itself, as a plain document.
//
// Invariant: every device becomes a report, also one that cannot be opened or asked: then `problem` says why. A report
// survives JSON: no bigint in it (those are hexadecimal text), and an unknown value is null.
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
export interface GidReport {
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
export interface PortReport {
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
  gids: GidReport[];
  /** Null: the device does not tell them, as iWARP ones. */
  pkeys: { index: number; pkey: string }[] | null;
}

/** A device. */
export interface DeviceReport {
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
  ports: PortReport[];
}

/**
 * Opens a device, asks it everything, and closes it.
 *
 * @returns its report; when it cannot be opened or asked, one that says why
 */
export function reportDevice(listing: DeviceListing): DeviceReport {
  const { name, kind, transport, nodeGuid } = listing;
  const report: DeviceReport = {
    ...{ name, kind, transport, nodeGuid, problem: null, provider: null, firmware: null, numaNode: null },
    attributes: {},
    ports: [],
  };
  let device: Device | undefined;
  try {
    device = Device.open(name);
    const { attributes } = device;
    report.provider = attributes.provider || null;
    report.firmware = attributes.firmware || null;
    report.numaNode = attributes.numaNode < 0 ? null : attributes.numaNode;
    report.attributes = inWords(attributes);
    for (let port = 1; port <= attributes.portCount; port++) report.ports.push(reportPort(device, port));
  } catch (error) {
    if (!isRdmaError(error)) throw error;
    report.problem = error.message;
  } finally {
    device?.close();
  }
  return report;
}

function reportPort(device: Device, port: number): PortReport {
  const attributes = device.queryPort(port);
  const gids = rankGids(device.queryGidTable(port))
    .map((entry) => reportGid(device, port, entry))
    .sort((a, b) => a.index - b.index);
  let chosen: PortReport['chosen'] = null;
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
    pkeys: reportPkeys(device, port),
  };
}

// A device that cannot tell its partition keys is no worse for it.
function reportPkeys(device: Device, port: number): PortReport['pkeys'] {
  try {
    return device.queryPkeyTable(port).map(({ index, pkey }) => ({ index, pkey: hex(pkey, 4) }));
  } catch (error) {
    if (!isRdmaError(error)) throw error;
    return null;
  }
}

function reportGid(device: Device, port: number, entry: RankedGid): GidReport {
  const { index, gid, type, netdev, usable, why } = entry;
  const report = { index, gid, address: formatGid(gid), type, netdev, usable, why };
  if (!usable) return report;
  const rc = native().proveGid(device.handle, port, index);
  if (rc === 0) return report;
  const { code } = errnoError(rc, 'ibv_create_ah');
  return { ...report, usable: false, why: `no address handle can be made from it: ${code}` };
}

function inWords(attributes: DeviceAttributes): DeviceReport['attributes'] {
  const report: DeviceReport['attributes'] = {};
  for (const [name, value] of Object.entries(attributes) as [string, number | string | bigint][]) {
    report[name] = typeof value === 'bigint' ? hex(value) : value;
  }
  report.nodeGuid = hex(attributes.nodeGuid, 16);
  report.systemImageGuid = hex(attributes.systemImageGuid, 16);
  report.capabilityNames = capabilityNames(attributes.capabilities);
  report.odpCapabilityNames = odpCapabilityNames(attributes.odpCapabilities);
  report.odpRcNames = odpOperationNames(attributes.odpRc);
  report.odpUcNames = odpOperationNames(attributes.odpUc);
  report.odpUdNames = odpOperationNames(attributes.odpUd);
  report.atomicWords = atomicWords(attributes.atomicCapability);
  return report;
}

const hex = (value: number | bigint, digits = 1) => `0x${value.toString(16).padStart(digits, '0')}`;
