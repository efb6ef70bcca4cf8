// Latency of a one-sided WRITE between two processes' JavaScript: half of a ping-pong on the bare verbs layer, without
// rings. What ring-lat adds to this figure is what the protocol costs.
//
// Usage: npm run build && node bench/write-lat.mjs [BYTES] [ITERATIONS] [DEVICE]
// Invariant: both sides poll the last byte of the target memory, as perftest's write_lat does; one JSON line on stdout.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { AccessFlags, Device, SendFlags } from 'onepiece-rdma/verbs';

const WINDOW = 64;
const STALL_MS = 30_000;
const SPINS_BEFORE_CLOCK = 1 << 16;

function open(name, bytes) {
  const device = Device.open(name);
  const pd = device.allocateProtectionDomain();
  const cq = device.createCompletionQueue(2 * WINDOW);
  const access = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE;
  const source = pd.registerMemory({ bytes });
  const target = pd.registerMemory({ bytes, access });
  const qp = pd.createQueuePair({ sendCq: cq, maxSendWr: 2 * WINDOW });
  const port = device.portAddress();
  const offer = { endpoint: qp.endpoint(port), address: target.address, rkey: target.rkey };
  return { device, cq, qp, port, source, target, bytes, offer };
}

function wait(condition) {
  const end = performance.now() + STALL_MS;
  for (let spins = 1; !condition(); spins++) {
    if (spins % SPINS_BEFORE_CLOCK === 0 && performance.now() > end) throw new Error('the other side is silent');
  }
}

// Answers a function that writes a mark to the peer, and one that waits for the peer's.
function pair(side, peer) {
  side.qp.connect(side.port, peer.endpoint, { access: AccessFlags.REMOTE_WRITE });
  const out = new Uint8Array(side.source.buffer);
  const into = new Uint8Array(side.target.buffer);
  const last = side.bytes - 1;
  let posted = 0;
  return {
    write(mark) {
      out[last] = mark;
      posted++;
      const signal = posted % WINDOW === 0;
      const flags = signal ? SendFlags.SIGNALED : 0;
      side.qp.sends.write(0, posted, flags, peer.address, peer.rkey, side.source.address, side.bytes, side.source.lkey);
      side.qp.postSend(1);
      if (!signal) return;
      wait(() => side.cq.poll() > 0);
      if (side.cq.completions.status(0) !== 0) throw new Error(`completion status ${side.cq.completions.status(0)}`);
    },
    await: (mark) => wait(() => Atomics.load(into, last) === mark),
  };
}

const [bytes = 64, iterations = 100_000] = process.argv.slice(2, 4).map(Number);
const name = process.argv[4] ?? 'soft0';
const warmUp = Math.ceil(iterations / 10);
const rounds = warmUp + iterations;
const mark = (round) => (round % 255) + 1;
const side = open(name, bytes);

if (process.send === undefined) {
  const child = fork(fileURLToPath(import.meta.url), process.argv.slice(2));
  const [peer] = await once(child, 'message');
  const link = pair(side, peer);
  child.send(side.offer);
  await once(child, 'message');
  const samples = new Float64Array(iterations);
  for (let round = 0; round < rounds; round++) {
    const begin = performance.now();
    link.write(mark(round));
    link.await(mark(round));
    if (round >= warmUp) samples[round - warmUp] = (performance.now() - begin) * 500;
  }
  await once(child, 'exit');
  samples.sort();
  const at = (share) => Number(samples[Math.ceil(share * iterations) - 1].toFixed(3));
  const latencyUs = { p50: at(0.5), p99: at(0.99), p999: at(0.999) };
  console.log(JSON.stringify({ test: 'write-lat', device: name, sizeBytes: bytes, iterations, latencyUs }));
} else {
  process.send(side.offer);
  const [peer] = await once(process, 'message');
  const link = pair(side, peer);
  process.send('ready');
  for (let round = 0; round < rounds; round++) {
    link.await(mark(round));
    link.write(mark(round));
  }
  process.disconnect();
}
side.device.close();
