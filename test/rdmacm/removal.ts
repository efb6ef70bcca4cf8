// A process that has a connection to itself and a listener, and tells what it learns when the device is removed. It
// ends then, because the kernel removes a device only when nobody has it open.
import { once } from 'node:events';
import { connectedPair } from './support.js';

async function main(): Promise<void> {
  const { active, passive, listener } = await connectedPair();
  const removals = [active, passive].map((connection) => once(connection, 'device-removed'));
  process.send?.('ready');
  await Promise.all(removals);
  const reasons = await Promise.all([active.closed, passive.closed]);
  process.send?.({ reasons, listening: listener.listening }, () => process.exit(0));
}

void main();
