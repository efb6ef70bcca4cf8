// The other process of the two-process tests: opens a side, says how to reach it, and then carries out commands.
// Invariant: it answers every command once it is done, and ends when its parent does.
import { type QueuePairEndpoint, SendFlags } from '../../src/ts/verbs/index.js';
import { fill, isFilled, openSide, takeOne, EVERY_ACCESS } from './support.js';

/** What the peer says first. */
export interface Hello {
  endpoint: QueuePairEndpoint;
  address: number;
  rkey: number;
}

export type Command =
  | { do: 'connect'; endpoint: QueuePairEndpoint }
  | { do: 'fill'; seed: number; bytes: number }
  | { do: 'check'; seed: number; bytes: number }
  | { do: 'receive'; bytes: number }
  | { do: 'take' }
  | { do: 'send'; imm: number; bytes: number }
  | { do: 'spin' }
  | { do: 'deregister' | 'close' }
  | { do: 'compare' };

const side = openSide({ bytes: 1 << 20, maxInlineData: 0, access: EVERY_ACCESS });
let snapshot = Buffer.alloc(0);
const say = (value: unknown) => process.send?.(value);

async function obey(command: Command): Promise<unknown> {
  switch (command.do) {
    case 'connect':
      side.qp.connect(side.address, command.endpoint, { access: EVERY_ACCESS });
      return true;
    case 'fill':
      fill(side.bytes.subarray(0, command.bytes), command.seed);
      return true;
    case 'check':
      return isFilled(side.bytes.subarray(0, command.bytes), command.seed);
    case 'receive':
      side.qp.receives.into(0, 5, side.mr.address, command.bytes, side.mr.lkey);
      side.qp.postReceive(1);
      return true;
    case 'take':
      return await takeOne(side.cq);
    case 'send':
      side.qp.sends.sendWithImm(0, 6, SendFlags.SIGNALED, command.imm, side.mr.address, command.bytes, side.mr.lkey);
      side.qp.postSend(1);
      return await takeOne(side.cq);
    case 'spin': {
      // The event loop is blocked from when the message is out until the peer's WRITE is seen, or too long.
      await new Promise<void>((resolve) => process.send?.('spinning', undefined, undefined, () => resolve()));
      const deadline = performance.now() + 10_000;
      while (side.bytes[0] !== 0x42 && performance.now() < deadline);
      return side.bytes[0] === 0x42;
    }
    case 'deregister':
      side.mr.deregister();
      snapshot = Buffer.from(side.mr.buffer.slice(0));
      return true;
    case 'close':
      side.qp.close();
      snapshot = Buffer.from(side.mr.buffer.slice(0));
      return true;
    case 'compare':
      return snapshot.equals(Buffer.from(side.mr.buffer));
  }
}

process.on('disconnect', () => process.exit(0));
process.on('message', (command: Command) => {
  void obey(command).then(say, (error) => {
    console.error(error);
    process.exit(1);
  });
});
const hello: Hello = { endpoint: side.qp.endpoint(side.address), address: side.mr.address, rkey: side.mr.rkey };
say(hello);
