// The port of a simulated process: what rings and pipelines need of the world, where chance decides.
//
// Invariant: as system-port.ts, nothing is decided here.
import { RdmaError } from '../core/errors.js';
import type { PipelinePort } from '../pipeline/port.js';
import type { RingPort } from '../ring/port.js';
import { SimDevice } from './device.js';
import type { SimProcess } from './process.js';
import type { SimWorld } from './world.js';

/**
 * The port through which an inbox or outbox of `process` sees `world`; for Inbox.listenOn and Outbox.connectOn. The
 * device is `sim0`.
 */
export function simPort(world: SimWorld, process: SimProcess): RingPort {
  return {
    clock: process.clock,
    identity: () => world.identity(),
    device: (device) => {
      if (device instanceof SimDevice) return { device, owned: false };
      if (device !== undefined && device !== 'sim0') {
        throw new RdmaError('RDMA_ERR_NO_DEVICE', `the simulation has no device ${String(device)}`);
      }
      return { device: world.openDevice(process), owned: true };
    },
    listen: (options) => world.network.listen(process, options),
    connect: (options) => world.network.connect(process, options),
  };
}

/**
 * The port through which a place in `process` sees `world`; for Gateway.open and StageInstance.open. All processes of a
 * world are on one host: they share the clock.
 */
export function simPipelinePort(world: SimWorld, process: SimProcess): PipelinePort {
  const { clock } = process;
  return {
    ...simPort(world, process),
    nowUs: () => clock.now() * 1000,
    host: 1,
    location: { machine: 'simulated', memory: 'simulated', hostname: 'simulated' },
    random: () => world.choices.delay(0, 1),
  };
}
