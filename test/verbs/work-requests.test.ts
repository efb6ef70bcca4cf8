// Proves that what JavaScript stores in a record lies at the offsets that native code reads: both against the layout
// written down in src/native/records.h, byte by byte.
import t from 'tap';
import { Completions, ReceiveRequests, SendRequests, WorkOpcode } from '../../src/ts/verbs/index.js';

const RECORD = 128;

/** Records for `count` requests, as native code makes them: one more for the word behind. */
function make(count: number) {
  const buffer = new ArrayBuffer(RECORD * (count + 1));
  return { buffer, view: new DataView(buffer), bytes: new Uint8Array(buffer) };
}

function element(view: DataView, at: number) {
  return {
    address: view.getFloat64(at, true),
    length: view.getUint32(at + 8, true),
    lkey: view.getUint32(at + 12, true),
  };
}

function head(view: DataView, index: number) {
  const at = index * RECORD;
  return {
    wrId: view.getFloat64(at, true),
    remoteAddress: view.getFloat64(at + 8, true),
    opcode: view.getUint32(at + 16, true),
    flags: view.getUint32(at + 20, true),
    imm: view.getUint32(at + 24, true),
    rkey: view.getUint32(at + 28, true),
    numSge: view.getUint32(at + 32, true),
    sge0: element(view, at + 64),
  };
}

const sge0 = { address: 2 ** 47 + 5, length: 0x80000000, lkey: 0xfedcba98 };
const remote = { remoteAddress: 2 ** 52 + 3, rkey: 0x89abcdef };

void t.test('each kind of send request is stored where native code reads it', async (t) => {
  const { buffer, view } = make(8);
  const sends = new SendRequests(buffer);
  t.equal(sends.capacity, 8);
  const { address, length, lkey } = sge0;
  const { remoteAddress, rkey } = remote;
  sends.write(1, 11, 2, remoteAddress, rkey, address, length, lkey);
  t.same(head(view, 1), { wrId: 11, ...remote, opcode: WorkOpcode.WRITE, flags: 2, imm: 0, numSge: 1, sge0 });
  sends.writeWithImm(2, 12, 6, 0xffffffff, remoteAddress, rkey, address, length, lkey);
  t.same(head(view, 2), { wrId: 12, ...remote, opcode: 1, flags: 6, imm: 0xffffffff, numSge: 1, sge0 });
  sends.read(3, 13, 3, remoteAddress, rkey, address, length, lkey);
  t.same(head(view, 3), { wrId: 13, ...remote, opcode: WorkOpcode.READ, flags: 3, imm: 0, numSge: 1, sge0 });
  const none = { remoteAddress: 0, rkey: 0 };
  sends.send(4, 14, 8, address, length, lkey);
  t.same(head(view, 4), { wrId: 14, ...none, opcode: WorkOpcode.SEND, flags: 8, imm: 0, numSge: 1, sge0 });
  sends.sendWithImm(5, 2 ** 53 - 1, 2, 7, address, length, lkey);
  t.same(head(view, 5), { wrId: 2 ** 53 - 1, ...none, opcode: 3, flags: 2, imm: 7, numSge: 1, sge0 });
});

void t.test('a request touches its own record only', async (t) => {
  const { buffer, bytes } = make(3);
  bytes.fill(0xaa);
  const sends = new SendRequests(buffer);
  sends.write(1, 1, 1, 1, 1, 1, 1, 1);
  t.ok(bytes.subarray(0, RECORD).every((byte) => byte === 0xaa));
  t.ok(bytes.subarray(2 * RECORD).every((byte) => byte === 0xaa));
  sends.write(7, 1, 1, 1, 1, 1, 1, 1);
  t.ok(
    bytes.subarray(2 * RECORD).every((byte) => byte === 0xaa),
    'an index out of range stores nothing',
  );
});

void t.test(
  'four pieces lie one behind the other; a fifth is counted, so that native code refuses it, but not stored',
  async (t) => {
    const { buffer, view } = make(2);
    const pieces = [1, 2, 3, 4, 5].map((n) => ({ address: 1000 * n, length: 10 * n, lkey: n }));
    new SendRequests(buffer).set(0, WorkOpcode.WRITE, 5, 2, 9, 77, 88, pieces.slice(0, 4));
    for (let i = 0; i < 4; i++) t.same(element(view, 64 + 16 * i), pieces[i]);
    t.equal(view.getUint32(32, true), 4);
    new SendRequests(buffer).set(0, WorkOpcode.WRITE, 5, 2, 9, 77, 88, pieces);
    t.equal(view.getUint32(32, true), 5);
    t.equal(view.getFloat64(RECORD, true), 0, 'the next record is untouched');
  },
);

void t.test('addImm and setWrId change what they say and nothing else', async (t) => {
  const { buffer, view } = make(1);
  const sends = new SendRequests(buffer);
  sends.write(0, 1, 0, remote.remoteAddress, remote.rkey, sge0.address, sge0.length, sge0.lkey);
  sends.addImm(0, 2, 42);
  sends.setWrId(0, 99);
  t.same(head(view, 0), { wrId: 99, ...remote, opcode: 1, flags: 2, imm: 42, numSge: 1, sge0 });
});

void t.test('receives are stored where native code reads them', async (t) => {
  const { buffer, view } = make(3);
  const receives = new ReceiveRequests(buffer);
  receives.into(0, 21, sge0.address, sge0.length, sge0.lkey);
  t.same([view.getFloat64(0, true), view.getUint32(8, true)], [21, 1]);
  t.same(element(view, 64), sge0);
  receives.empty(0, 22);
  t.same([view.getFloat64(0, true), view.getUint32(8, true)], [22, 0]);
  receives.set(1, 23, [sge0, { ...sge0, lkey: 1 }]);
  t.same([view.getFloat64(RECORD, true), view.getUint32(RECORD + 8, true)], [23, 2]);
  t.same(element(view, RECORD + 80), { ...sge0, lkey: 1 });
});

void t.test('the word behind the records says how many of a refused post were taken', async (t) => {
  const { buffer, view } = make(4);
  view.setUint32(4 * RECORD, 3, true);
  t.equal(new SendRequests(buffer).taken, 3);
  t.equal(new ReceiveRequests(buffer).taken, 3);
});

void t.test('completions are read from where native code stores them', async (t) => {
  const buffer = new ArrayBuffer(128);
  const view = new DataView(buffer);
  view.setFloat64(64, 2 ** 53 - 1, true);
  for (let word = 2; word <= 8; word++) view.setUint32(64 + word * 4, 0xf0000000 + word, true);
  const c = new Completions(buffer);
  t.equal(c.capacity, 2);
  t.equal(c.wrId(1), 2 ** 53 - 1);
  t.same(
    [c.status(1), c.opcode(1), c.byteLength(1), c.imm(1), c.qpNum(1), c.flags(1), c.vendorError(1)],
    [2, 3, 4, 5, 6, 7, 8].map((word) => 0xf0000000 + word),
  );
});
