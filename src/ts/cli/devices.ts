// `onepiece devices`: what there is to carry messages, and why something is not there.
//
// Invariant: a device that cannot be opened is shown with its reason, never left out; one asked for by name that is not
// there, or cannot be opened, is an error.
import { Command } from 'commander';
import { machine } from '../bench/kit/machine.js';
import { describeDevice } from '../doctor/device-details.js';
import { Device, listDevices } from '../verbs/index.js';
import { deviceDetails, deviceTables } from './device-table.js';
import { UsageError } from './exit.js';

export function devicesCommand(): Command {
  return new Command('devices')
    .description('list RDMA devices, with the address that would be used and why')
    .argument('[name]', 'only this one')
    .option('-v, --verbose', 'all attributes, and of each port the whole GID table and the partition keys')
    .option('--json', 'print one JSON document, with everything, instead of tables')
    .action(run);
}

function run(name: string | undefined, options: { verbose?: true; json?: true }): void {
  if (name !== undefined && !/^[^/\s]{1,64}$/.test(name)) throw new UsageError('a device has a name such as mlx5_0');
  // Says in its error what is missing, and which devices there are.
  if (name !== undefined) Device.open(name).close();
  const { devices, missing } = listDevices();
  const shown = devices.filter((device) => name === undefined || device.name === name).map(describeDevice);
  if (options.json) {
    const document = { schemaVersion: 2, machine: machine(), devices: shown, missing };
    process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
    return;
  }
  const text = options.verbose ? shown.map(deviceDetails).join('\n\n') : deviceTables(shown);
  process.stdout.write(`${text}\n`);
  if (name !== undefined) return;
  for (const [kind, why] of Object.entries(missing)) process.stdout.write(`\nNo ${kind} devices: ${why}\n`);
}
