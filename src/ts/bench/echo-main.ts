// The other side of ring-lat: sends back what it receives.
//
// Invariant: ends with its parent, and answers in the order of arrival.
import { setImmediate as turn } from 'node:timers/promises';
import { Inbox, type Lane, Outbox } from '../ring/index.js';
import { Device } from '../verbs/index.js';
import { dieWithParent } from '../verbs/process.js';
import { type EchoConfig, POLLS_PER_OUTBOX_POLL } from './ring-lat.js';

const POLLS_PER_TURN = 4096;

async function echo(config: EchoConfig): Promise<void> {
  dieWithParent(config.parentPid);
  const { secret, dataBytes, port } = config;
  const device = Device.open(config.device);
  const inbox = await Inbox.listen({ device, secret, wait: 'busy', maxDataBytes: dataBytes });
  const to = { host: '127.0.0.1', port };
  const outbox = await Outbox.connect({ to, secret, device, dataBytes, wait: 'busy', reconnectMs: 0 });
  process.send?.({ port: inbox.bootstrap.port });
  const visit = (lane: Lane) => {
    const message = lane.data.subarray(lane.offset, lane.offset + lane.length);
    while (outbox.trySend(message) === 0) outbox.poll();
    lane.release(lane.sequence);
    lane.acknowledge(lane.sequence);
  };
  while (outbox.connected) {
    for (let i = 0; i < POLLS_PER_TURN; i++) {
      inbox.poll(visit);
      if (i % POLLS_PER_OUTBOX_POLL === 0) outbox.poll();
    }
    await turn();
  }
  process.exit(0);
}

process.once('message', (config: EchoConfig) => {
  echo(config).catch((error) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  });
});
process.on('disconnect', () => process.exit(0));
process.on('SIGINT', () => {});
