// The other process of the doctor's attempt to join two: connects an outbox to the inbox that stdin names,
// and sends one message.
//
// Invariant: it ends by itself, whether the attempt works or not, and says why not on stdout in one line of JSON.
import { text } from 'node:stream/consumers';
import { Outbox } from '../ring/index.js';
import type { PeerTask } from './peer.js';

async function main(): Promise<void> {
  const { to, secret, device, message, timeoutMs } = JSON.parse(await text(process.stdin)) as PeerTask;
  const outbox = await Outbox.connect({ to, secret, device, reconnectMs: 0 });
  try {
    await outbox.send(Buffer.from(message), { timeoutMs });
    await outbox.whenAcknowledged(undefined, { timeoutMs });
  } finally {
    await outbox.close();
  }
}

main().then(
  () => process.exit(0),
  (error: Error) => {
    process.stdout.write(`${JSON.stringify({ problem: error.message })}\n`, () => process.exit(1));
  },
);
