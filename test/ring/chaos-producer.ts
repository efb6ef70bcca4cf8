// A producer of a chaos run. Invariant: it may be stopped or killed at any instruction; it writes down each
// acknowledgement before it goes on.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { Outbox } from '../../src/ts/ring/index.js';
import { identityWord, Ledger, What } from './chaos-ledger.js';
import { howSent, MAX_PULLED_BYTES, messageBytes, producerShape } from './chaos-plan.js';
import { leftBehind, openNow } from './leftovers.js';
import { DEVICE, SECRET } from './support.js';

export interface ChaosProducerArgs {
  folder: string;
  seed: number;
  producer: number;
  incarnation: number;
}

const RECONNECT_MS = 10 * 60_000;
const MESSAGES_PER_TURN = 8;

let finishing = false;

/** Makes and sends message `sequence`, the next one of the outbox. */
async function sendNext(outbox: Outbox, args: ChaosProducerArgs, sequence: number): Promise<void> {
  const { seed, producer, incarnation } = args;
  const how = howSent(seed, producer, incarnation, sequence);
  const make = () => messageBytes(seed, producer, incarnation, sequence);
  const { length } = make();
  let taken: number;
  if (how === 'send') {
    taken = outbox.trySend(make()) || (await outbox.send(make().slice()));
  } else if (how === 'parts') {
    const whole = make().slice();
    taken = await outbox.send([
      whole.subarray(0, length >>> 2),
      whole.subarray(length >>> 2, length >>> 1),
      whole.subarray(length >>> 1),
    ]);
  } else {
    const room = how === 'reserve more' ? Math.min(outbox.maxMessageBytes, length + (sequence % 200)) : length;
    const reservation = outbox.tryReserve(room) ?? (await outbox.reserve(room));
    taken = reservation.sequence;
    const half = length >>> 1;
    reservation.bytes.set(make().subarray(0, half));
    // Others run while it is half built; whoever dies here dies after a reservation.
    if (sequence % 3 === 0) await turn();
    if (how === 'abort') {
      reservation.abort();
    } else {
      reservation.bytes.set(make().subarray(half), half);
      reservation.commit(length);
    }
  }
  if (taken !== sequence) throw new Error(`message ${sequence} was taken as ${taken}`);
}

async function main(args: ChaosProducerArgs): Promise<void> {
  const { folder, seed, producer, incarnation } = args;
  const { slots, dataBytes, checksum, inPlace, wait } = producerShape(seed, producer);
  const before = openNow();
  const ledger = new Ledger(folder, `producer-${producer}-${incarnation}`);
  let identity = 0;
  const outbox = await Outbox.connect({
    to: () => ({ host: '127.0.0.1', port: Number(readFileSync(path.join(folder, 'port'), 'utf8')) }),
    secret: SECRET,
    device: DEVICE,
    name: `p${producer}.${incarnation}`,
    slots,
    dataBytes,
    checksum,
    inPlace,
    wait,
    retainMessages: 4 * slots,
    pullBytes: 4 * MAX_PULLED_BYTES,
    reconnectMs: RECONNECT_MS,
    onAcknowledged: (sequence) => ledger.write(What.ACKNOWLEDGED, producer, incarnation, sequence, identity),
  });
  identity = identityWord(outbox.identity);
  process.send?.({ identity: outbox.identity });
  while (!finishing) {
    for (let i = 0; i < MESSAGES_PER_TURN; i++) {
      const sequence = outbox.sequence + 1;
      ledger.write(What.INTENT, producer, incarnation, sequence, identity);
      await sendNext(outbox, args, sequence);
    }
    await turn();
  }
  await outbox.whenAcknowledged();
  ledger.write(What.FINISHED, producer, incarnation, outbox.sequence, identity);
  const { counters } = outbox;
  await outbox.close();
  ledger.close();
  process.send?.({ finished: counters, left: await leftBehind(before) });
  process.disconnect();
}

if (require.main === module) {
  process.on('message', () => {
    finishing = true;
  });
  main(JSON.parse(process.argv[2] as string) as ChaosProducerArgs).catch((error: Error) => {
    console.error(error);
    process.exit(1);
  });
  process.on('disconnect', () => {
    // Whoever started it is gone, unless it has finished.
    setTimeout(() => process.exit(3), 5000).unref();
  });
}
