// Proves the choice of an address on recorded ports: InfiniBand with and without a routing header, RoCE whose first
// candidates cannot be used, and ports without any.
import { constants } from 'node:os';
import t from 'tap';
import type { GidEntry, RdmaError } from '../../src/ts/verbs/index.js';
import type { NativePortAttributes } from '../../src/ts/addon/native.js';
import { choosePortAddress } from '../../src/ts/verbs/port-address.js';
import { codeOf } from './support.js';

const ETHERNET = { linkLayer: 2, state: 4, lid: 0, activeMtu: 3, flags: 0 } as NativePortAttributes;
const INFINIBAND = { linkLayer: 1, state: 4, lid: 23, activeMtu: 5, flags: 0 } as NativePortAttributes;
const IPV4 = '00000000000000000000ffff0a000001';
const V6 = '20010db8000000000000000000000001';
const entry = (index: number, gid: string, type: string): GidEntry => ({ index, gid, type, netdev: 'eth0' });
const roce = [entry(0, IPV4, 'RoCE v1'), entry(1, IPV4, 'RoCE v2'), entry(2, V6, 'RoCE v2')];
const fabric = [entry(0, 'fe800000000000000002c90300a1b2c3', 'IB')];
const EINVAL = -constants.errno.EINVAL;

const choose = (
  attributes: NativePortAttributes,
  table: GidEntry[],
  gid?: number | string,
  prove: (index: number) => number = () => 0,
) => choosePortAddress({ device: 'mlx5_0', port: 1, attributes, table, prove, gid });

function failure(run: () => unknown): RdmaError {
  try {
    run();
  } catch (error) {
    return error as RdmaError;
  }
  throw new Error('it did not fail');
}

void t.test('the best candidate that can be proved is taken, and what was passed over is said', async (t) => {
  t.match(choose(ETHERNET, roce), { index: 1, isGlobal: true, mtu: 3, lid: 0, why: /^RoCE v2 over IPv4 10.0.0.1$/ });
  const tried: number[] = [];
  const only = (good: number) => (index: number) => {
    tried.push(index);
    return index === good ? 0 : EINVAL;
  };
  const second = choose(ETHERNET, roce, undefined, only(2));
  t.same(tried, [1, 2], 'in the order of rank, and no further');
  t.equal(second.index, 2);
  t.match(second.why, /^RoCE v2 over global IPv6 .*; passed over 1 \(RoCE v2 10.0.0.1\): no address handle, EINVAL$/);
});

void t.test('on InfiniBand the LID is the address, unless the port asks for a routing header', async (t) => {
  const never = () => {
    throw new Error('a LID needs no proof');
  };
  t.match(choose(INFINIBAND, fabric, undefined, never), { isGlobal: false, lid: 23, index: 0, why: /^LID 23/ });
  t.match(choose(INFINIBAND, [], undefined, never), { isGlobal: false, lid: 23, gid: '0'.repeat(32) });
  t.match(choose({ ...INFINIBAND, flags: 1 }, fabric), { isGlobal: true, lid: 23, why: /InfiniBand fabric$/ });
});

void t.test('the caller overrides by index, by GID and by IP address, unproved', async (t) => {
  const never = () => EINVAL;
  t.match(choose(ETHERNET, roce, 0, never), { index: 0, type: 'RoCE v1', why: 'index 0 was asked for' });
  t.match(choose(ETHERNET, roce, '10.0.0.1', never), { index: 1, type: 'RoCE v2', why: '10.0.0.1 was asked for' });
  t.match(choose(ETHERNET, roce, '2001:db8::1', never), { index: 2 });
  t.match(choose(ETHERNET, roce, V6, never), { index: 2 });
  const error = failure(() => choose(ETHERNET, roce, 9));
  t.match(error, { code: 'RDMA_ERR_NO_DEVICE', message: /no usable GID at index 9/, remedy: /1 \(RoCE v2 10.0.0.1\)/ });
  for (const bad of [-1, 1.5, Number.NaN, 'eth0', '']) {
    t.equal(
      codeOf(() => choose(ETHERNET, roce, bad)),
      'RDMA_ERR_INVALID_ARGUMENT',
      String(bad),
    );
  }
});

void t.test('when nothing is usable every entry is listed with its reason', async (t) => {
  const table = [...roce.slice(1), entry(3, `fe80${'0'.repeat(28)}`, 'RoCE v2')];
  const error = failure(() => choose(ETHERNET, table, undefined, () => EINVAL));
  t.equal(error.code, 'RDMA_ERR_NO_DEVICE');
  t.match(error.message, /1 \(RoCE v2 10.0.0.1\): no address handle can be made from it, EINVAL; 2 \(/);
  t.match(error.message, /3 \(RoCE v2 fe80::\): a link-local prefix without an interface/);
  t.match(failure(() => choose(ETHERNET, [])).message, /the GID table is empty/);
});

void t.test('a port that is not active says its state, with the remedy of its link layer', async (t) => {
  t.match(
    failure(() => choose({ ...ETHERNET, state: 1 }, roce)),
    { message: /not active but down/, remedy: /ip link/ },
  );
  t.match(
    failure(() => choose({ ...INFINIBAND, state: 2 }, fabric)),
    {
      message: /not active but initializing/,
      remedy: /subnet manager/,
    },
  );
});
