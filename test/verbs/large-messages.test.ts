// Proves: messages beyond the processor's cache, which are copied by streaming stores and partly by the engine thread,
// arrive whole at any alignment and in several pieces, in order; nothing beside them changes.
import t from 'tap';
import { AccessFlags, CompletionStatus, Device, SendFlags, WorkOpcode } from '../../src/ts/verbs/index.js';

const MIB = 2 ** 20;
// Above the size from which stores stream, on any processor with less than 96 MiB of last-level cache.
const LARGE = 32 * MIB;
const ROOM = LARGE + 3 * 4096;
const ACCESS = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE | AccessFlags.REMOTE_READ;

const device = Device.open('soft0');
t.teardown(() => device.close());
const pd = device.allocateProtectionDomain();
const cq = device.createCompletionQueue(8);
const [a, b] = [0, 1].map(() => pd.createQueuePair({ sendCq: cq, maxSendSge: 4 })) as [
  ReturnType<typeof pd.createQueuePair>,
  ReturnType<typeof pd.createQueuePair>,
];
const port = device.portAddress();
a.connect(port, b.endpoint(port), { access: ACCESS });
b.connect(port, a.endpoint(port), { access: ACCESS });
const local = pd.registerMemory({ bytes: ROOM, access: ACCESS });
const remote = pd.registerMemory({ bytes: ROOM, access: ACCESS });
const mine = Buffer.from(local.buffer);
const theirs = Buffer.from(remote.buffer);

function complete(): void {
  a.postSend(1);
  const end = performance.now() + 30_000;
  while (cq.poll(1) === 0) if (performance.now() > end) throw new Error('no completion');
  t.equal(cq.completions.status(0), CompletionStatus.SUCCESS);
}

function pattern(bytes: Buffer, seed: number): void {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + seed, 0x9e3779b1);
}

function isAll(bytes: Buffer, value: number): boolean {
  return bytes.every((byte) => byte === value);
}

for (const [name, length, from, to] of [
  ['whole pages', LARGE, 0, 0],
  ['odd places', LARGE + 77, 13, 4097],
  ['a target below a page boundary', LARGE - 1, 4096, 4095],
  ['a source that is not aligned', LARGE, 3, 64],
] as const) {
  void t.test(`a WRITE and a READ of ${name}`, (t) => {
    for (const [opcode, source, target] of [
      [WorkOpcode.WRITE, mine, theirs],
      [WorkOpcode.READ, theirs, mine],
    ] as const) {
      const isWrite = opcode === WorkOpcode.WRITE;
      const [here, there] = isWrite ? [from, to] : [to, from];
      pattern(source, length + opcode);
      target.fill(0xee);
      a.sends.set(0, opcode, 1, SendFlags.SIGNALED, 0, remote.address + there, remote.rkey, [
        local.piece(here, length),
      ]);
      complete();
      t.ok(source.subarray(from, from + length).equals(target.subarray(to, to + length)), 'every byte has arrived');
      t.ok(isAll(target.subarray(0, to), 0xee) && isAll(target.subarray(to + length), 0xee), 'none beside it');
    }
    t.end();
  });
}

void t.test('several pieces of odd lengths are gathered and scattered', (t) => {
  const lengths = [5 * MIB + 1, 1, 7 * MIB + 4095, LARGE - 12 * MIB - 4097];
  let at = 1;
  const pieces = lengths.map((length) => {
    const piece = local.piece(at, length);
    at += length + 1;
    return piece;
  });
  pattern(mine, 1);
  theirs.fill(0);
  a.sends.set(0, WorkOpcode.WRITE, 1, SendFlags.SIGNALED, 0, remote.address + 5, remote.rkey, pieces);
  complete();
  const gathered = Buffer.concat(
    pieces.map(({ address, length }) => mine.subarray(address - local.address, address - local.address + length)),
  );
  t.ok(gathered.equals(theirs.subarray(5, 5 + gathered.length)));
  mine.fill(0);
  a.sends.set(0, WorkOpcode.READ, 1, SendFlags.SIGNALED, 0, remote.address + 5, remote.rkey, pieces);
  complete();
  const scattered = Buffer.concat(
    pieces.map(({ address, length }) => mine.subarray(address - local.address, address - local.address + length)),
  );
  t.ok(scattered.equals(gathered));
  t.equal(mine[0], 0);
  t.end();
});

void t.test('requests behind a large one wait for it, and are kept in order', (t) => {
  theirs.fill(0);
  mine.fill(1, 0, LARGE);
  mine.fill(2, LARGE, LARGE + 64);
  a.sends.set(0, WorkOpcode.WRITE, 1, SendFlags.SIGNALED, 0, remote.address, remote.rkey, [local.piece(0, LARGE)]);
  a.sends.set(1, WorkOpcode.WRITE, 2, SendFlags.SIGNALED, 0, remote.address, remote.rkey, [local.piece(LARGE, 64)]);
  a.postSend(2);
  const order: number[] = [];
  const end = performance.now() + 30_000;
  while (order.length < 2 && performance.now() < end) {
    const count = cq.poll(1);
    if (count > 0) order.push(cq.completions.wrId(0));
  }
  t.strictSame(order, [1, 2]);
  t.ok(isAll(theirs.subarray(0, 64), 2) && isAll(theirs.subarray(64, LARGE), 1), 'the later one is on top');
  t.end();
});
