// A side of this process connected to a peer process (peer.ts).
import type { ChildProcess } from 'node:child_process';
import type { ConnectOptions } from '../../src/ts/verbs/index.js';
import type { Command, Hello } from './peer.js';
import { ended, EVERY_ACCESS, message, openSide, startHelper } from './support.js';

/** Sends a command to the peer and waits for the answer. */
export async function ask<T>(child: ChildProcess, command: Command): Promise<T> {
  const answer = message<T>(child);
  child.send(command);
  return await answer;
}

export async function openPeer(options: ConnectOptions = {}) {
  const child = startHelper('peer');
  child.stderr?.pipe(process.stderr);
  const hello = await message<Hello>(child);
  const side = openSide({ bytes: 1 << 20 });
  side.qp.connect(side.address, hello.endpoint, { access: EVERY_ACCESS, ...options });
  await ask(child, { do: 'connect', endpoint: side.qp.endpoint(side.address) });
  const close = async () => {
    side.device.close();
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.disconnect();
    await ended(child);
  };
  return { child, side, address: hello.address, rkey: hello.rkey, close };
}
