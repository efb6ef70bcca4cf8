// A process at the other end, for tests that kill it: it listens, accepts everything, and stays.
import { type Connection, listen } from '../../src/ts/rdmacm/index.js';
import { deviceAddress, openEnd, receiveInto } from './support.js';

const connections: Connection[] = [];

async function main(): Promise<void> {
  const listener = await listen({ host: deviceAddress() }, async (request) => {
    const end = openEnd();
    connections.push(await request.accept({ queuePair: end.queuePair, postReceives: receiveInto(end) }));
    process.send?.('accepted');
  });
  process.send?.(listener.address.port);
}

void main();
