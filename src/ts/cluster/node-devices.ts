// The devices of a node on which its places listen.
//
// Invariant: a device is used only when this process could open it and its port has an address; a device that was named
// and cannot be used is an error, others are left out.
import { RdmaError } from '../core/errors.js';
import { invalidArgument } from '../core/validate.js';
import { fabricOf, subnetOf, systemPipelinePort } from '../pipeline/index.js';
import type { NodeDevice } from '../planner/policies.js';
import { Device, listDevices } from '../verbs/index.js';

const MAX_DEVICES = 64;
const SOFT = 'soft0';

/** At least one. */
export type NodeDevices = readonly [NodeDevice, ...NodeDevice[]];

/** What settings of places say of devices. */
export function deviceSettings([{ name }, ...others]: NodeDevices): { device: string; otherDevices: string[] } {
  return { device: name, otherDevices: others.map((each) => each.name) };
}

/** Those by which other hosts are reached. */
export function networkDevices(devices: readonly NodeDevice[]): NodeDevice[] {
  return devices.filter(({ name }) => name !== SOFT);
}

/**
 * Finds them.
 *
 * @param wanted names of devices, the one to prefer first; undefined: soft0, and every verbs device that works
 * @returns them, soft0 first when it is there: places take memory for outputs from the first one
 * @throws RdmaError RDMA_ERR_NO_DEVICE when one of `wanted` cannot be used, or there is none; RDMA_ERR_INVALID_ARGUMENT
 */
export function nodeDevices(wanted?: readonly string[]): NodeDevices {
  if (wanted !== undefined) checkNames(wanted);
  const names = wanted ?? listDevices().devices.map(({ name }) => name);
  const usable: NodeDevice[] = [];
  let problem: unknown;
  for (const name of names) {
    try {
      usable.push({ name, fabric: probe(name) });
    } catch (error) {
      if (wanted !== undefined) throw error;
      problem = error;
    }
  }
  const [first, ...others] = [
    ...usable.filter(({ name }) => name === SOFT),
    ...usable.filter(({ name }) => name !== SOFT),
  ];
  if (first !== undefined) return [first, ...others];
  throw problem instanceof RdmaError ? problem : new RdmaError('RDMA_ERR_NO_DEVICE', 'there is no RDMA device');
}

function checkNames(names: readonly string[]): void {
  const isList = Array.isArray(names) && names.length > 0 && names.length <= MAX_DEVICES;
  if (!isList || new Set(names).size < names.length || names.some((name) => typeof name !== 'string' || name === '')) {
    throw invalidArgument('devices', names, `1 to ${MAX_DEVICES} names of devices, each once`);
  }
}

// Its fabric.
function probe(name: string): string {
  const device = Device.open(name);
  try {
    return fabricOf(device.portAddress(), systemPipelinePort.location.memory, subnetOf);
  } finally {
    device.close();
  }
}
