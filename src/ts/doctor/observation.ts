// What this process can do with RDMA here and now, by trying it.
//
// Invariant: trying leaves nothing behind, and a failure of what is tried is recorded in words, not thrown.
import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { isRdmaError } from '../core/errors.js';
import { CmEventChannel } from '../rdmacm/index.js';
import { AccessFlags, Device, listDevices } from '../verbs/index.js';
import { type DeviceReport, reportDevice } from './device-report.js';

export interface Observation {
  /** Why the native addon cannot be loaded; null when it is. */
  addonProblem: string | null;
  /** What to do about that; null when there is nothing to do, or nothing known. */
  addonRemedy: string | null;
  devices: DeviceReport[];
  /** By kind of device, why there is none: of listDevices(). */
  missing: Record<string, string>;
  /** Why there is no connection manager; null when an event channel could be opened. */
  rdmacmProblem: string | null;
  /** Why memory cannot be registered on a device, by its name. */
  memoryProblems: Record<string, string>;
  /** Why another process of this user cannot reach into /proc/PID/fd of this one; null when it can. */
  peerProblem: string | null;
}

const PEER_LIMIT_MS = 10_000;
const PROBE_BYTES = 1 << 20;

/** Looks. Takes about 0.1 s, most of it for the other process. */
export function observe(): Observation {
  const nothing: Observation = {
    ...{ addonProblem: null, addonRemedy: null, devices: [], missing: {}, rdmacmProblem: null, memoryProblems: {} },
    peerProblem: reachFromPeer(),
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
  const devices = listed.devices.map(reportDevice);
  for (const { name, problem } of devices) {
    const why = problem === null ? attempt(() => registerMemory(name)) : null;
    if (why !== null) memoryProblems[name] = why;
  }
  return {
    ...nothing,
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

// What soft0 does to reach a peer: opening one of its descriptors through /proc.
function reachFromPeer(): string | null {
  const program = 'require("fs").closeSync(require("fs").openSync(process.argv[1], "r+"))';
  let fd: number | undefined;
  try {
    fd = openSync('/dev/null', 'r+');
    execFileSync(process.execPath, ['-e', program, `/proc/${process.pid}/fd/${fd}`], {
      ...{ timeout: PEER_LIMIT_MS, killSignal: 'SIGKILL', stdio: ['ignore', 'ignore', 'pipe'], env: {} },
    });
    return null;
  } catch (error) {
    const ran = typeof (error as { status?: unknown }).status === 'number';
    const what = ran
      ? "another process of this user cannot open this one's descriptors in /proc, as soft0 does"
      : "another process, to try whether it can open this one's descriptors in /proc, could not be started or did not end";
    return `${what}: ${words(error)}`;
  } finally {
    if (fd !== undefined) closeSync(fd);
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
  const { message, stderr } = error as Error & { stderr?: Buffer };
  const reason = /^\w*Error: (.*)$/m.exec(stderr?.toString() ?? '')?.[1];
  return reason ?? message.split('\n')[0] ?? 'no reason given';
}
