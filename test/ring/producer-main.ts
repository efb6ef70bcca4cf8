// A producer process: sends numbered messages whose bytes follow from their number, waits for room, and ends when all
// are acknowledged. In a message: number (u32), salt (u32), then content(number ^ salt).
import { readFileSync } from 'node:fs';
import { Outbox, Poller } from '../../src/ts/ring/index.js';
import { content, DEVICE, SECRET } from './support.js';

export interface ProducerArgs {
  port: number;
  /** A file that names the port, read before each attempt. */
  portFile?: string;
  name: string;
  messages: number;
  salt: number;
  slots?: number;
  dataBytes?: number;
  reconnectMs?: number;
  wait?: 'adaptive' | 'event';
  poller?: boolean;
}

/** Sizes from nothing but the head to all that fits. */
export function sizeOf(number: number, dataBytes: number): number {
  const sizes = [
    8,
    9,
    dataBytes,
    dataBytes - 1,
    72,
    8 + ((number * 97) % 500),
    8 + ((number * 7919) % (dataBytes - 8)),
  ];
  return sizes[number % sizes.length] as number;
}

async function main(args: ProducerArgs): Promise<void> {
  const { name, messages, salt, slots = 8, dataBytes = 4096, reconnectMs = 20_000, wait = 'adaptive' } = args;
  const { portFile } = args;
  const port = () => (portFile === undefined ? args.port : Number(readFileSync(portFile, 'utf8')));
  const outbox = await Outbox.connect({
    to: () => ({ host: '127.0.0.1', port: port() }),
    secret: SECRET,
    device: DEVICE,
    name,
    slots,
    dataBytes,
    retainMessages: 4 * slots,
    reconnectMs,
    wait,
    ...(args.poller === true ? { poller: new Poller() } : {}),
    onConnection: (event) => process.send?.({ [event.type]: event.reason?.code ?? true }),
  });
  process.send?.({ identity: outbox.identity });
  for (let number = 1; number <= messages; number++) {
    const head = Uint32Array.of(number, salt);
    const body = content(number ^ salt, sizeOf(number, outbox.maxMessageBytes) - 8);
    await outbox.send([new Uint8Array(head.buffer), body]);
  }
  await outbox.whenAcknowledged();
  process.send?.({ done: outbox.counters });
  await outbox.close();
  process.disconnect();
}

if (require.main === module) {
  main(JSON.parse(process.argv[2] as string) as ProducerArgs).catch((error: Error) => {
    process.send?.({ failed: String(error) });
    process.disconnect();
  });
}
