// `onepiece devices`: what there is to carry messages, and why something is not there.
//
// Invariant: a device that cannot be opened is shown with its reason, never left out.
import { Command } from 'commander';
import { machine } from '../bench/machine.js';
import { Device, formatGid, listDevices, mtuBytes, RdmaError } from '../verbs/index.js';
import { table } from './table.js';

interface DeviceReport {
  name: string;
  kind: string;
  transport: string;
  state: string;
  mtuBytes: number | null;
  gidIndex: number | null;
  gid: string | null;
  why: string;
}

export function devicesCommand(): Command {
  return new Command('devices')
    .description('list RDMA devices, with the address that would be used and why')
    .option('--json', 'print one JSON document instead of the table')
    .action((options: { json?: true }) => {
      const { devices, missing } = listDevices();
      const reports = devices.map(({ name, kind, transport }) => ({ name, kind, transport, ...portOf(name) }));
      if (options.json) {
        process.stdout.write(
          `${JSON.stringify({ schemaVersion: 1, machine: machine(), devices: reports, missing }, null, 2)}\n`,
        );
        return;
      }
      const rows = reports.map((d) => [
        d.name,
        d.transport,
        d.state,
        d.mtuBytes === null ? '-' : String(d.mtuBytes),
        d.gid === null ? '-' : `${d.gidIndex}: ${d.gid}`,
        d.why,
      ]);
      process.stdout.write(`${table(['DEVICE', 'TRANSPORT', 'PORT 1', '>MTU', 'GID', 'WHY'], rows)}\n`);
      for (const [kind, why] of Object.entries(missing)) process.stdout.write(`\nNo ${kind} devices: ${why}\n`);
    });
}

function portOf(name: string): Omit<DeviceReport, 'name' | 'kind' | 'transport'> {
  let device: Device | undefined;
  try {
    device = Device.open(name);
    const address = device.portAddress();
    return {
      state: 'active',
      mtuBytes: mtuBytes(address.mtu),
      gidIndex: address.index,
      gid: formatGid(address.gid),
      why: address.why,
    };
  } catch (error) {
    if (!(error instanceof RdmaError)) throw error;
    return { state: 'unusable', mtuBytes: null, gidIndex: null, gid: null, why: error.message };
  } finally {
    device?.close();
  }
}
