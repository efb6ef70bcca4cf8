// Raw verbs between processes: workers count in the memory of another process, which runs no code meanwhile.
//
//   node examples/verbs/counter.mjs [workers] [device]         (default 3 and soft0; see `onepiece devices`)
//
// This process registers a page and hands out its address and key. Each worker adds to a counter in it by RDMA
// fetch-and-add, writes its name beside it by RDMA WRITE, and says by a SEND that it has ended. Only the SEND takes a
// receive here; the rest is one-sided.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { AccessFlags, Device } from 'onepiece-rdma/verbs';

const ROUNDS = 1000;
const NAME_BYTES = 32; // of one worker; the counter is the first 8 bytes of the page

const file = fileURLToPath(import.meta.url);
const isWorker = process.send !== undefined;

/** @typedef {import('onepiece-rdma/verbs').RemoteMemory} RemoteMemory */
/** What a worker has to know. @typedef {{ endpoint: import('onepiece-rdma/verbs').QueuePairEndpoint,
 *   counter: RemoteMemory, name: RemoteMemory }} Invitation */

/** A device with what every verbs program makes of it first. @param {string} name */
function open(name) {
  const device = Device.open(name);
  const pd = device.allocateProtectionDomain();
  // With a channel, waiting for a completion takes no processor time.
  const cq = device.createCompletionQueue(64, device.createCompletionChannel());
  return { device, pd, cq, address: device.portAddress() };
}

/** @param {number} workers @param {string} name */
async function serve(workers, name) {
  const { device, pd, cq, address } = open(name);
  const access = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE | AccessFlags.REMOTE_ATOMIC;
  const page = pd.registerMemory({ bytes: 4096, access });

  const ends = Array.from({ length: workers }, async (_, i) => {
    const qp = pd.createQueuePair({ sendCq: cq });
    const child = fork(file, [`${i + 1}`, name]);
    // The two sides tell each other their endpoints; how is left to the program. Here: over the channel of fork().
    const [endpoint] = await once(child, 'message');
    qp.connect(address, endpoint, { access });
    const nameAt = page.address + NAME_BYTES * (i + 1);
    const ended = qp.operations.receive([]); // posted before the worker can send
    child.send({
      endpoint: qp.endpoint(address),
      counter: { address: page.address, rkey: page.rkey },
      name: { address: nameAt, rkey: page.rkey },
    });
    await ended;
    child.send('closed');
    await once(child, 'exit');
  });
  await Promise.all(ends);

  const bytes = Buffer.from(page.buffer);
  for (let i = 1; i <= workers; i++) {
    const [text] = bytes.toString('utf8', NAME_BYTES * i, NAME_BYTES * (i + 1)).split('\0');
    console.log(text);
  }
  console.log(new BigUint64Array(page.buffer, 0, 1)[0]); // workers * ROUNDS: no addition was lost
  device.close(); // closes all that was made from it, youngest first
}

/** @param {string} number @param {string} name */
async function work(number, name) {
  const { device, pd, cq, address } = open(name);
  const qp = pd.createQueuePair({ sendCq: cq });
  const invitation = once(process, 'message');
  process.send?.(qp.endpoint(address));
  const [{ endpoint, counter, name: nameAt }] = /** @type {[Invitation]} */ (await invitation);
  qp.connect(address, endpoint);

  for (let i = 0; i < ROUNDS; i++) await qp.operations.fetchAdd(counter, 1n); // answers what was there before

  const memory = pd.registerMemory({ bytes: NAME_BYTES });
  const { written } = new TextEncoder().encodeInto(`worker ${number} has counted`, memory.bytes);
  await qp.operations.write(memory.piece(0, written), nameAt);
  await qp.operations.send([]); // after the write: a reliable connection keeps their order
  await once(process, 'message');
  device.close();
  process.disconnect();
}

const [count = '3', name = 'soft0'] = process.argv.slice(2);
if (isWorker) await work(count, name);
else await serve(Number(count), name);
