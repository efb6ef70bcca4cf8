// Invariant: a child process for the tests of process death; it connects to the port in its argument, says that it is
// there, and then does what its second argument says.

import { connectBootstrap } from '../../src/ts/connect/index.js';
import { SECRET } from './support.js';

async function main(port: number, mode: string): Promise<void> {
  const channel = await connectBootstrap({ port, secret: SECRET, name: `child ${mode}` });
  channel.send({ hello: process.pid });
  if (mode === 'unref') channel.unref();
  if (mode === 'exit') setImmediate(() => process.exit(0));
  if (mode === 'close') channel.close();
}

void main(Number(process.argv[2]), process.argv[3] ?? '');
