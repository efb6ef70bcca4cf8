// The real port: verbs devices, the TCP bootstrap, Node's timers.
//
// Invariant: nothing is decided here; each call goes straight to its verb.
import { randomBytes } from 'node:crypto';
import { BootstrapServer, connectBootstrap } from '../connect/index.js';
import { realTimers } from '../core/deadline.js';
import { Device } from '../verbs/index.js';
import type { RingPort } from './port.js';

export const systemPort: RingPort = {
  clock: { ...realTimers, soon: (call) => void setImmediate(call) },
  identity: () => randomBytes(16).toString('hex'),
  device: (device) =>
    device instanceof Device
      ? { device, owned: false }
      : { device: Device.open(device as string | undefined), owned: true },
  listen: (options) => BootstrapServer.listen(options),
  connect: connectBootstrap,
};
