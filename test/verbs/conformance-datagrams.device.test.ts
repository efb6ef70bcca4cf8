// Proves, on soft0 and on rxe0 alike, how datagrams and unreliable connections lose, and what they never lose.
import t from 'tap';
import {
  CompletionOpcode as Opcode,
  CompletionStatus as Status,
  pathTo,
  QpState,
  QpType,
  SendFlags,
} from '../../src/ts/verbs/index.js';
import { codeOf, fill, isFilled, isSoft, openPair, openSide, take, takeOne } from './support.js';

const { SIGNALED } = SendFlags;
const GRH = 40;
const qkey = 0x11111111;

function openDatagrams(maxRecvWr = 16) {
  const open = () => {
    const side = openSide({ type: QpType.UD, maxRecvWr, maxInlineData: 64 });
    side.qp.activate(side.address, qkey);
    return side;
  };
  const a = open();
  const b = open();
  const to = a.pd.createAddressHandle(pathTo(a.address, b.qp.endpoint(b.address)));
  const receive = (wrId: number, length = 4096) => {
    b.qp.receives.into(0, wrId, b.mr.address, length, b.mr.lkey);
    b.qp.postReceive(1);
  };
  const send = async (wrId: number, length: number, key = qkey, qpn = b.qp.qpNum) => {
    a.qp.sends.sendWithImm(0, wrId, SIGNALED, wrId, a.mr.address, length, a.mr.lkey);
    a.qp.sends.to(0, to.number, qpn, key);
    a.qp.postSend(1);
    return await takeOne(a.cq);
  };
  const close = () => {
    a.device.close();
    b.device.close();
  };
  return { a, b, to, receive, send, close };
}

void t.test('a datagram arrives behind 40 bytes of header, with its sender', async (t) => {
  const { a, b, receive, send, close } = openDatagrams();
  receive(5);
  fill(a.bytes.subarray(0, 1000), 3);
  t.match(await send(1, 1000), { wrId: 1, status: Status.SUCCESS, opcode: Opcode.SEND });
  t.match(await takeOne(b.cq), {
    wrId: 5,
    status: Status.SUCCESS,
    opcode: Opcode.RECEIVE,
    byteLength: GRH + 1000,
    imm: 1,
  });
  t.equal(b.cq.completions.flags(0) & 3, 3, 'with header and immediate');
  t.equal(b.cq.completions.sourceQp(0), a.qp.qpNum);
  t.ok(isFilled(b.bytes.subarray(GRH, GRH + 1000), 3));
  close();
});

void t.test('a wrong key, a wrong number, no receive: the sender hears success, the receiver nothing', async (t) => {
  const { b, receive, send, close } = openDatagrams();
  t.match(await send(1, 8), { status: Status.SUCCESS }, 'no receive');
  receive(5);
  t.match(await send(2, 8, qkey + 1), { status: Status.SUCCESS }, 'a wrong queue key');
  t.match(await send(3, 8, qkey, b.qp.qpNum ^ 0x4000), { status: Status.SUCCESS }, 'a wrong number');
  t.match(await send(4, 8), { status: Status.SUCCESS });
  t.match(await takeOne(b.cq), { wrId: 5, imm: 4 }, 'only the last one came');
  t.equal(b.cq.poll(), 0);
  t.equal(b.qp.query().state, QpState.READY_TO_SEND);
  close();
});

void t.test('a datagram of one MTU arrives, a longer one is never sent', async (t) => {
  const { b, receive, send, close } = openDatagrams();
  const mtu = isSoft ? 4096 : 1024;
  receive(5, 8192);
  t.match(await send(1, 4097), { status: Status.SUCCESS });
  t.match(await send(2, mtu), { status: Status.SUCCESS });
  t.match(await takeOne(b.cq), { wrId: 5, byteLength: GRH + mtu, imm: 2 });
  close();
});

void t.test('receives come back in the order of their posting, round after round', async (t) => {
  const { b, receive, send, close } = openDatagrams(4);
  for (let i = 0; i < 4; i++) receive(i);
  for (let i = 0; i < (isSoft ? 1000 : 40); i++) {
    await send(i, 64);
    const { wrId, imm } = await takeOne(b.cq);
    if (wrId !== i % 4 || imm !== i) t.fail(`round ${i}: ${wrId}, ${imm}`);
    receive(wrId);
  }
  // rxe takes a few more than it says.
  if (isSoft)
    t.match(
      codeOf(() => receive(9)),
      /ENOMEM|RDMA_ERR_QUEUE_FULL/,
    );
  b.qp.toError();
  t.ok(
    (await take(b.cq, 4)).every((wc) => wc.status === Status.FLUSHED),
    'and are flushed when it stops',
  );
  close();
});

void t.test('READ, WRITE and a closed address handle are refused when they are posted', async (t) => {
  const { a, b, to, close } = openDatagrams();
  a.qp.sends.write(0, 1, SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, 8, a.mr.lkey);
  t.equal(
    codeOf(() => a.qp.postSend(1)),
    'EINVAL',
  );
  a.qp.sends.send(0, 1, SIGNALED, a.mr.address, 8, a.mr.lkey);
  a.qp.sends.to(0, to.number, b.qp.qpNum, qkey);
  to.close();
  t.equal(
    codeOf(() => a.qp.postSend(1)),
    'EINVAL',
  );
  close();
});

void t.test('an unreliable connection loses in silence', async (t) => {
  using pair = openPair({ type: QpType.UC });
  const { a, b } = pair;
  const write = async (wrId: number, rkey: number, imm = false) => {
    const { sends } = a.qp;
    if (imm) sends.writeWithImm(0, wrId, SIGNALED, wrId, b.mr.address, rkey, a.mr.address, 8, a.mr.lkey);
    else sends.write(0, wrId, SIGNALED, b.mr.address, rkey, a.mr.address, 8, a.mr.lkey);
    a.qp.postSend(1);
    return (await takeOne(a.cq)).status;
  };
  t.equal(await write(1, (b.mr.rkey ^ 0x100) >>> 0), Status.SUCCESS, 'a wrong key');
  t.equal(await write(2, b.mr.rkey, true), Status.SUCCESS, 'no receive');
  a.qp.sends.send(0, 3, SIGNALED, a.mr.address, 8, a.mr.lkey);
  a.qp.postSend(1);
  t.match(await takeOne(a.cq), { wrId: 3, status: Status.SUCCESS }, 'no receive for a SEND');
  b.qp.receives.into(0, 5, b.mr.address, 64, b.mr.lkey);
  b.qp.postReceive(1);
  a.bytes.fill(0x55, 0, 8);
  t.equal(await write(4, b.mr.rkey, true), Status.SUCCESS);
  t.match(await takeOne(b.cq), { wrId: 5, status: Status.SUCCESS, imm: 4 });
  t.equal(b.bytes[0], 0x55);
  t.equal(b.qp.query().state, QpState.READY_TO_SEND);
});

void t.test('an unreliable connection has no READ', async (t) => {
  using pair = openPair({ type: QpType.UC });
  const { a, b } = pair;
  a.qp.sends.read(0, 1, SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, 8, a.mr.lkey);
  a.qp.postSend(1);
  t.match(await takeOne(a.cq), { wrId: 1, status: Status.LOCAL_QP_OPERATION_ERROR });
});
