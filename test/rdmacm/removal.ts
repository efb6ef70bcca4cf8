// A process that has a connection to itself and a listener, and tells what it learns when the device is removed. It
// ends then, because the kernel removes a device only when nobody has it open.
import { connectedPair } from './support.js';

async function main(): Promise<void> {
  const { active, passive, listener } = await connectedPair();
  const seen: string[] = [];
  for (const [name, connection] of Object.entries({ active, passive })) {
    connection.once('device-removed', () => seen.push(`${name} removed`));
  }
  process.send?.('ready');
  const reasons = await Promise.all([active.closed, passive.closed]);
  process.send?.({ seen, reasons, listening: listener.listening }, () => process.exit(0));
}

void main();
