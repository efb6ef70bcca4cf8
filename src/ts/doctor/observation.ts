// What this process can do with RDMA here and now, by trying it.
//
// Invariant: an attempt leaves nothing behind, and its failure is recorded in words, not thrown.
import { type GpuInventory, readGpus } from '../cluster/gpus.js';
import { isRdmaError } from '../core/errors.js';
import { CmEventChannel } from '../rdmacm/index.js';
import { AccessFlags, Device, listDevices } from '../verbs/index.js';
import { type DeviceDetails, describeDevice } from './device-details.js';
import { joinPeer } from './peer.js';

export interface Observation {
  /** Why the native addon cannot be loaded; null when it is. */
  addonProblem: string | null;
  /** What to do about that; null when there is nothing to do, or nothing known. */
  addonRemedy: string | null;
  devices: DeviceDetails[];
  /** By kind of device, why there is none: of listDevices(). */
  missing: Record<string, string>;
  /** Why there is no connection manager; null when an event channel could be opened. */
  rdmacmProblem: string | null;
  /** Why memory cannot be registered on a device, by its name. */
  memoryProblems: Record<string, string>;
  /** Why soft0 does not join another process of this user and this one; null when it does. */
  peerProblem: string | null;
  /** The GPUs, each of which was tried; a text: why they could not be asked. */
  gpus: GpuInventory | string;
}

const PROBE_BYTES = 1 << 20;

/** Looks. Takes about 0.3 s, most of it for other processes, and a second for each GPU. */
export async function observe(): Promise<Observation> {
  const nothing: Observation = {
    ...{ addonProblem: null, addonRemedy: null, devices: [], missing: {}, rdmacmProblem: null, memoryProblems: {} },
    peerProblem: null,
    gpus: await readGpus('python3', true).catch(words),
  };
  let listed: ReturnType<typeof listDevices>;
  try {
    listed = listDevices();
  } catch (error) {
    const addonRemedy = isRdmaError(error) ? (error.remedy ?? null) : null;
    const addonProblem = words(error).replace(` (${addonRemedy})`, '');
    return { ...nothing, addonProblem, addonRemedy, rdmacmProblem: 'the native addon is missing' };
  }
  const memoryProblems: Observation['memoryProblems'] = {};
  const devices = listed.devices.map(describeDevice);
  for (const { name, problem } of devices) {
    const why = problem === null ? attempt(() => registerMemory(name)) : null;
    if (why !== null) memoryProblems[name] = why;
  }
  const softOpens = devices.some(({ kind, problem }) => kind === 'soft' && problem === null);
  return {
    ...nothing,
    peerProblem: softOpens ? await joinPeer() : null,
    devices,
    missing: listed.missing,
    memoryProblems,
    rdmacmProblem: attempt(() => CmEventChannel.open().close()),
  };
}

function registerMemory(name: string): void {
  const device = Device.open(name);
  try {
    const pd = device.allocateProtectionDomain();
    pd.registerMemory({ bytes: PROBE_BYTES, access: AccessFlags.LOCAL_WRITE }).close();
    pd.close();
  } finally {
    device.close();
  }
}

function attempt(work: () => void): string | null {
  try {
    work();
    return null;
  } catch (error) {
    return words(error);
  }
}

function words(error: unknown): string {
  if (isRdmaError(error)) return error.message;
  return (error as Error).message.split('\n')[0] ?? 'no reason given';
}
