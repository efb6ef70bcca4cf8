// Proves that the simulated device is as strict as verbs: keys, rights, bounds, order, receives, completions, arming,
// the end of a queue pair, and what a stopped or dead process leaves behind.
import t from 'tap';
import { AccessFlags, CompletionStatus, SendFlags } from '../../src/ts/verbs/index.js';
import { thrownCode } from '../ring/support.js';
import { ALL, type Side, statuses, twoSides } from './two-sides.js';

const { SUCCESS, FLUSHED, REMOTE_ACCESS_ERROR, LOCAL_PROTECTION_ERROR, RETRY_EXCEEDED } = CompletionStatus;
const { SIGNALED } = SendFlags;

interface Write {
  wrId?: number;
  at?: number;
  bytes?: number;
  rkey?: number;
  lkey?: number;
  flags?: number;
  imm?: number;
}

/** Posts one WRITE from the same place of the near memory to the far one. */
function write(near: Side, far: Side, what: Write = {}): void {
  const { wrId = 1, at = 0, bytes = 64, rkey = far.region.rkey, lkey = near.region.lkey, flags = SIGNALED } = what;
  const { sends } = near.qp;
  const from = near.region.address + (at % 2048);
  if (what.imm === undefined) sends.write(0, wrId, flags, far.region.address + at, rkey, from, bytes, lkey);
  else sends.writeWithImm(0, wrId, flags, what.imm, far.region.address + at, rkey, from, bytes, lkey);
  near.qp.postSend(1);
}

void t.test('WRITE, READ, compare-and-swap and fetch-and-add do what verbs says', async (t) => {
  const { near, far, settle } = twoSides();
  near.bytes.fill(7, 0, 64);
  write(near, far);
  await settle();
  t.strictSame(statuses(near), [[1, SUCCESS]]);
  t.ok(far.bytes.subarray(0, 64).every((byte) => byte === 7));

  const { sends } = near.qp;
  const { address, rkey } = far.region;
  const word = new DataView(far.region.buffer);
  word.setBigUint64(128, 41n, true);
  const { lkey } = near.region;
  sends.fetchAdd(0, 2, SIGNALED, address + 128, rkey, 1n, near.region.address + 256, lkey);
  sends.compareSwap(1, 3, SIGNALED, address + 128, rkey, 42n, 9n, near.region.address + 264, lkey);
  sends.compareSwap(2, 4, SIGNALED, address + 128, rkey, 42n, 8n, near.region.address + 272, lkey);
  sends.read(3, 5, SIGNALED, address + 128, rkey, near.region.address + 280, 8, lkey);
  near.qp.postSend(4);
  await settle();
  t.strictSame(
    statuses(near),
    [2, 3, 4, 5].map((wrId) => [wrId, SUCCESS]),
  );
  const results = new BigUint64Array(near.region.buffer, 256, 4);
  t.strictSame([...results], [41n, 42n, 9n, 9n]);
});

void t.test('a wrong key, a missing right and a place outside end both queue pairs', async (t) => {
  const wrong: [string, Write, number?][] = [
    ['a key that nobody has', { rkey: 0xdead }],
    ['behind the end', { at: 4096 - 32 }],
    ['without the right to write', {}, AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_READ],
  ];
  for (const [name, what, access] of wrong) {
    const { near, far, settle } = twoSides({ receives: 2, ...(access === undefined ? {} : { access }) });
    write(near, far, what);
    write(near, far, { wrId: 2, flags: 0 });
    await settle();
    t.strictSame(
      statuses(near),
      [
        [1, REMOTE_ACCESS_ERROR],
        [2, FLUSHED],
      ],
      `${name}: also what was not signaled`,
    );
    t.strictSame(
      statuses(far),
      [
        [0, FLUSHED],
        [0, FLUSHED],
      ],
      name,
    );
    t.ok(far.bytes.every((byte) => byte === 0));
  }
  const { near, far, settle } = twoSides();
  write(near, far, { lkey: 0xdead });
  await settle();
  t.strictSame(statuses(near), [[1, LOCAL_PROTECTION_ERROR]]);
});

void t.test('the key of one protection domain opens no other', async (t) => {
  const { near, far, settle } = twoSides();
  const other = far.device.allocateProtectionDomain().registerMemory({ bytes: 64, access: ALL });
  near.qp.sends.write(0, 1, SIGNALED, other.address, other.rkey, near.region.address, 64, near.region.lkey);
  near.qp.postSend(1);
  await settle();
  t.strictSame(statuses(near), [[1, REMOTE_ACCESS_ERROR]]);
});

void t.test('an immediate waits for a receive, and for the data before it', async (t) => {
  const { near, far, world, settle } = twoSides({ receives: 0 });
  near.bytes.fill(3);
  write(near, far, { imm: 77 });
  await settle();
  t.strictSame(statuses(near), []);
  t.equal(world.missingReceives, 1);
  far.qp.postEmptyReceives(1);
  await settle();
  t.strictSame(statuses(near), [[1, SUCCESS]]);
  t.equal(far.cq.poll(), 1);
  t.equal(far.cq.completions.imm(0), 77);
  t.equal(far.cq.completions.byteLength(0), 64);
  t.equal(far.bytes[63], 3);
});

void t.test('the send queue is full until a completion is polled, whatever is signaled', async (t) => {
  const { near, far, settle } = twoSides({ depth: 2 });
  write(near, far, { flags: 0 });
  write(near, far, { wrId: 2 });
  await settle();
  t.equal(
    thrownCode(() => write(near, far)),
    'RDMA_ERR_QUEUE_FULL',
    'it is carried out, and nobody knows',
  );
  t.strictSame(statuses(near), [[2, SUCCESS]]);
  write(near, far, { wrId: 3 });
  await settle();
  t.strictSame(statuses(near), [[3, SUCCESS]]);
});

void t.test('an event comes once for a completion after the arming, and for none before', async (t) => {
  const { near, far, settle } = twoSides();
  write(near, far, { imm: 1 });
  await settle();
  far.cq.requestNotify();
  await settle();
  t.equal(far.events, 0, 'it was there before');
  write(near, far, { imm: 2 });
  write(near, far, { imm: 3 });
  await settle();
  t.equal(far.events, 1);
  far.cq.requestNotify(true);
  write(near, far, { imm: 4 });
  await settle();
  t.equal(far.events, 1, 'not solicited');
  write(near, far, { imm: 5, flags: SIGNALED | SendFlags.SOLICITED });
  await settle();
  t.equal(far.events, 2);
  t.equal(statuses(far).length, 5);
});

void t.test('whenever the target revokes, what has landed is a prefix, and nothing lands afterwards', async (t) => {
  const lengths = new Set<number>();
  for (let seed = 1; seed <= 80; seed++) {
    for (const copier of ['device', 'process'] as const) {
      const { near, far, world, settle } = twoSides({ seed, copier, tearShare: 0.7 });
      near.bytes.fill(1);
      write(near, far, { bytes: 256 });
      write(near, far, { wrId: 2, at: 256, bytes: 256 });
      await settle((seed % 30) / 20);
      far.qp.close();
      let proved = true;
      try {
        far.region.deregister();
      } catch {
        proved = false;
      }
      const landed = far.bytes.indexOf(0);
      t.ok(far.bytes.subarray(landed).every((byte) => byte === 0) || landed < 0);
      lengths.add(landed);
      const copy = far.bytes.slice();
      await settle();
      if (proved) t.strictSame(far.bytes, copy, 'revoked is revoked');
      else t.equal(copier, 'process', 'only who copies itself can stand inside');
      t.strictSame(world.broken, []);
      const [first] = statuses(near);
      t.ok(first === undefined || first[1] === SUCCESS || first[1] === RETRY_EXCEEDED);
    }
  }
  t.ok(lengths.size > 20, `${lengths.size} different prefixes`);
});

void t.test('a dead process: a network card may still send what was posted, the process itself does not', async (t) => {
  const landed = { device: 0, process: 0 };
  for (let seed = 1; seed <= 60; seed++) {
    for (const copier of ['device', 'process'] as const) {
      const { near, far, settle } = twoSides({ seed, copier });
      near.bytes.fill(5);
      write(near, far);
      near.process.crash();
      write(near, far); // the call of a dead process does nothing
      await settle();
      if (far.bytes[0] === 5) landed[copier]++;
    }
  }
  t.equal(landed.process, 0);
  t.ok(landed.device > 5 && landed.device < 55, `${landed.device} of 60`);
});

void t.test(
  'a stopped process: a network card goes on, the process itself waits, and then revoking is not proved',
  async (t) => {
    const card = twoSides();
    card.near.bytes.fill(5);
    write(card.near, card.far);
    card.near.process.stop();
    await card.settle();
    t.equal(card.far.bytes[63], 5);

    let inside = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const { near, far, settle } = twoSides({ seed, copier: 'process', tearShare: 0.9 });
      near.bytes.fill(5);
      write(near, far);
      await settle(0.3);
      near.process.stop();
      const before = far.bytes.slice();
      await settle();
      t.strictSame(far.bytes, before, 'nothing moves');
      far.qp.close();
      const code = thrownCode(() => far.region.deregister());
      if (code !== undefined) {
        t.equal(code, 'EBUSY');
        inside++;
      }
      near.process.continue();
      await settle();
      if (code === undefined) t.strictSame(far.bytes, before);
    }
    t.ok(inside > 0, `${inside} were stopped in the middle of a copy`);
  },
);

void t.test('mapped memory: stores arrive, until the owner revokes it', async (t) => {
  const { near, far, settle } = twoSides({ copier: 'process' });
  const mapping = near.qp.mapRemote(far.region.address + 64, far.region.rkey, 128);
  const view = new Uint8Array(mapping.buffer);
  view.set([1, 2, 3], 10);
  await settle();
  t.strictSame([...far.bytes.subarray(74, 77)], [1, 2, 3]);
  far.bytes[80] = 9;
  near.cq.poll();
  t.equal(view[16], 9, 'both see the same');
  view[11] = 20;
  far.region.deregister();
  view[12] = 30;
  await settle();
  t.strictSame([...far.bytes.subarray(74, 77)], [1, 20, 3]);
  mapping.close();
  t.equal(mapping.buffer.byteLength, 0);

  const other = twoSides({ copier: 'process', access: ALL & ~AccessFlags.REMOTE_MAP });
  const { region } = other.far;
  t.equal(
    thrownCode(() => other.near.qp.mapRemote(region.address, region.rkey, 64)),
    'EACCES',
  );
  const card = twoSides();
  t.equal(
    thrownCode(() => card.near.qp.mapRemote(card.far.region.address, card.far.region.rkey, 64)),
    'ENOTSUP',
  );
});

void t.test('a mapping is registered and handed on, and outlives the region', async (t) => {
  const first = twoSides({ copier: 'process' });
  const { near, far, settle } = first;
  const mapping = near.qp.mapRemote(far.region.address, far.region.rkey, 128);
  far.bytes[3] = 7;
  await settle();
  const onward = near.domain.registerMapping(mapping, ALL);
  t.equal(onward.buffer, mapping.buffer);
  // Its peer reaches it as any region of this side.
  const back = far.qp.mapRemote(onward.address, onward.rkey, 128);
  t.equal(new Uint8Array(back.buffer)[3], 7);
  far.region.close();
  t.equal(new Uint8Array(mapping.buffer)[3], 7);
  const late = far.qp.mapRemote(onward.address, onward.rkey, 128);
  t.equal(new Uint8Array(late.buffer)[3], 7);
  mapping.close();
  t.equal(
    thrownCode(() => far.qp.mapRemote(onward.address, onward.rkey, 128)),
    'EACCES',
  );
  t.equal(new Uint8Array(late.buffer)[3], 7, 'whoever has mapped it keeps it');
  t.equal(
    thrownCode(() => near.domain.registerMapping({ buffer: new ArrayBuffer(8), close: () => {} }, ALL)),
    'ENOTSUP',
  );
});

void t.test('everything that was made is gone when the device is closed', async (t) => {
  const { near } = twoSides();
  near.domain.close();
  near.cq.close();
  t.equal(near.device.objects.size, 1, 'the channel is its own');
  t.equal(near.region.buffer.byteLength, 0);
  t.equal(
    thrownCode(() => near.qp.postSend(1)),
    'RDMA_ERR_CLOSED',
  );
});
