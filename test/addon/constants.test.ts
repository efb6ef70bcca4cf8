// Proves that the numbers are those of the verbs ABI (as <infiniband/verbs.h> has them).
import t from 'tap';
import * as constants from '../../src/ts/addon/constants.js';

void t.test('the numbers are those of the verbs ABI', async (t) => {
  t.same(Object.values(constants.AccessFlags), [1, 2, 4, 8, 16, 32, 64, 1 << 20, 1 << 30]);
  t.equal(
    Object.keys(constants.WorkOpcode).join(' '),
    'WRITE WRITE_WITH_IMM SEND SEND_WITH_IMM READ COMPARE_SWAP FETCH_ADD LOCAL_INV BIND_MW SEND_WITH_INV',
  );
  t.same(Object.values(constants.WorkOpcode), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  t.same(constants.QpType, { RC: 2, UC: 3, UD: 4 });
  t.same(constants.CompletionFlags, { GRH: 1, WITH_IMM: 2, WITH_INV: 8 });
  t.same(constants.SendFlags, { FENCE: 1, SIGNALED: 2, SOLICITED: 4, INLINE: 8 });
  t.same(Object.values(constants.QpState), [0, 1, 2, 3, 4, 5, 6]);
  t.equal(constants.CompletionOpcode.RECEIVE, 1 << 7);
  t.equal(constants.CompletionOpcode.RECEIVE_WITH_IMM, (1 << 7) + 1);
  t.equal(constants.QpAttributeMask.DEST_QP_NUM, 1 << 20);
});

void t.test('attribute masks are different single bits', async (t) => {
  const bits = Object.values(constants.QpAttributeMask);
  t.equal(new Set(bits).size, bits.length);
  for (const bit of bits) t.equal(bit & (bit - 1), 0, String(bit));
});

void t.test('the completion statuses are 0 to 23', async (t) => {
  t.same(
    Object.values(constants.CompletionStatus),
    Array.from({ length: 24 }, (_, i) => i),
  );
});

void t.test('MTU codes are powers of two from 256 to 4096', async (t) => {
  t.same([1, 2, 3, 4, 5].map(constants.mtuBytes), [256, 512, 1024, 2048, 4096]);
});
