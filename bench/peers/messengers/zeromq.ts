// zeromq.js over ipc: PUSH to PULL, each way.
//
// Invariant: the high-water marks are in bytes what the other peers have as a window.
import { join } from 'node:path';
import type * as Zeromq from 'zeromq';
import { loadPackage, packageVersion } from '../installed.js';
import { type Dialer, type Hub, type Messenger, type MessengerContext, type OnMessage, windowOf } from './messenger.js';

const there = ({ folder }: MessengerContext) => `ipc://${join(folder, 'zmq')}`;
const back = (context: MessengerContext, index: number) => `${there(context)}-${index}`;

const load = () => loadPackage<typeof Zeromq>('zeromq');

async function receive(pull: Zeromq.Pull, onMessage: OnMessage): Promise<void> {
  while (!pull.closed) {
    let message: Buffer[];
    try {
      message = await pull.receive();
    } catch (error) {
      if (pull.closed) return;
      throw error;
    }
    onMessage(message);
  }
}

export const zeromq: Messenger = {
  name: 'zeromq',
  medium: 'ipc (PUSH, PULL)',
  maxBytes: 2 ** 30,
  hasBackPressure: true,
  version: () => `zeromq.js ${packageVersion('zeromq')} (libzmq ${load().version})`,
  async listen(context, onMessage): Promise<Hub> {
    const zmq = load();
    const highWater = windowOf(context.sizeBytes);
    const pull = new zmq.Pull({ receiveHighWaterMark: highWater, linger: 0 });
    await pull.bind(there(context));
    const pushes: Zeromq.Push[] = [];
    for (let index = 0; index < context.producers; index++) {
      const push = new zmq.Push({ sendHighWaterMark: highWater, linger: 0 });
      await push.bind(back(context, index));
      pushes.push(push);
    }
    void receive(pull, onMessage);
    return {
      send: (to, message) => pushes[to]!.send(message),
      close: async () => {
        for (const socket of [pull, ...pushes]) socket.close();
      },
    };
  },
  async dial(context, index, onMessage): Promise<Dialer> {
    const zmq = load();
    const highWater = windowOf(context.sizeBytes);
    const push = new zmq.Push({ sendHighWaterMark: highWater, linger: 0 });
    const pull = new zmq.Pull({ receiveHighWaterMark: highWater, linger: 0 });
    push.connect(there(context));
    pull.connect(back(context, index));
    void receive(pull, onMessage);
    return {
      send: (message) => push.send(message),
      close: async () => {
        push.close();
        pull.close();
      },
    };
  },
};
