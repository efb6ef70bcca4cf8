// Proves which device a place chooses for which target, and what it says when none reaches it.
import t from 'tap';
import { type DeviceAddress, type PlaceAddress, reach } from '../../src/ts/pipeline/index.js';
import { checkPlaceAddress, fabricOf } from '../../src/ts/pipeline/place-address.js';

const soft = (fabric: string): DeviceAddress => ({ device: 'soft0', kind: 'soft', fabric, host: '127.0.0.1', port: 1 });
const roce = (device: string, fabric: string, host = '10.0.0.9'): DeviceAddress => {
  return { device, kind: 'RoCE v2', fabric, host, port: 2 };
};
const ib = (device: string, fabric: string): DeviceAddress => ({
  device,
  kind: 'IB',
  fabric,
  host: '10.0.0.9',
  port: 3,
});
const on = (machine: string, ...devices: DeviceAddress[]): PlaceAddress => ({
  machine,
  hostname: `h-${machine}`,
  devices,
});

const A = '10.0.0.0/24';
const B = '10.0.1.0/24';

void t.test('the best pair of devices', async (t) => {
  const cases: [string, PlaceAddress, PlaceAddress, [own: number, device: string]][] = [
    [
      'shared memory before the network',
      on('x', roce('r0', A), soft('m')),
      on('x', roce('r0', A), soft('m')),
      [1, 'soft0'],
    ],
    ['not across PID namespaces', on('x', soft('m'), roce('r0', A)), on('x', soft('n'), roce('r0', A)), [1, 'r0']],
    ['between hosts', on('x', soft('m'), roce('r0', A)), on('y', soft('n'), roce('r1', A)), [1, 'r1']],
    ['one subnet before routers', on('x', roce('r0', A), roce('r1', B)), on('y', roce('r2', B)), [1, 'r2']],
    ['by routers', on('x', roce('r0', A)), on('y', roce('r2', B)), [0, 'r2']],
    [
      'the order of the sender',
      on('x', roce('r1', A), roce('r0', A)),
      on('y', roce('r2', A), roce('r3', A)),
      [0, 'r2'],
    ],
    ['InfiniBand', on('x', roce('r0', A), ib('i0', 'fe80')), on('y', ib('i1', 'fe80')), [1, 'i1']],
    ['127.0.0.1 on the same machine', on('x', roce('r0', A)), on('x', roce('r1', A, '127.0.0.1')), [0, 'r1']],
    [
      'who is reached from outside',
      on('x', roce('r0', A)),
      on('y', roce('r1', A, '127.0.0.1'), roce('r2', A)),
      [0, 'r2'],
    ],
  ];
  for (const [name, from, to, [own, device]] of cases) {
    const found = reach(from, to, 'b/0');
    t.same([found.own, found.target.device], [own, device], name);
    t.ok(found.why.length > 0);
  }
  t.match(reach(on('x', soft('m')), on('x', soft('m')), 'b/0').why, /shared memory/);
  t.match(
    reach(on('x', roce('r0', A)), on('y', roce('r1', B)), 'b/0').why,
    /from 10\.0\.0\.0.*to 10\.0\.1\.0.*routers/,
  );
});

void t.test('when none does, the devices of both sides are named', async (t) => {
  const none: [PlaceAddress, PlaceAddress, RegExp][] = [
    [on('x', soft('m')), on('y', soft('n')), /between hosts both need RDMA devices/],
    [on('x', soft('m')), on('y', soft('n'), roce('r0', A)), /between hosts/],
    [on('x', roce('r0', A)), on('y', ib('i0', 'fe80')), /one fabric/],
    [on('x', ib('i0', 'fe80')), on('y', ib('i1', 'fec0')), /one fabric/],
    [on('x', roce('r0', A)), on('y', roce('r1', 'fe80')), /one fabric/],
    [on('x', roce('r0', A)), on('y', roce('r1', A, '127.0.0.1')), /--address/],
  ];
  for (const [from, to, remedy] of none) {
    t.throws(() => reach(from, to, 'b/0'), { code: 'RDMA_ERR_NO_DEVICE', remedy });
  }
  t.throws(() => reach(on('x', soft('m')), on('y', soft('n'), roce('mlx5_0', A)), 'b/0'), {
    message: 'no device reaches b/0: here (h-x) are soft0, there (h-y) soft0, mlx5_0 (RoCE v2, 10.0.0.0/24)',
  });
});

void t.test('the fabric of a device', async (t) => {
  const subnet = (ip: string) => (ip === '10.0.0.7' ? A : undefined);
  const of = (type: string, gid: string) => fabricOf({ type, gid }, 'memory', subnet);
  t.equal(of('soft', 'ab'.repeat(16)), 'memory');
  t.equal(of('RoCE v2', '00000000000000000000ffff0a000007'), A);
  t.equal(of('RoCE v2', '00000000000000000000ffff0a000008'), '10.0.0.8/32', 'no interface has it');
  t.equal(of('RoCE v2', '20010db8000000010000000000000001'), '20010db800000001');
  t.equal(of('IB', 'fe80000000000000ffff000000000001'), 'fe80000000000000');
});

void t.test('an address of another process is checked', async (t) => {
  const good = on('x', soft('m'), roce('r0', A));
  t.same(checkPlaceAddress(JSON.parse(JSON.stringify(good))), good);
  for (const gpu of [{ memory: 'm', probe: '{}' }, { memory: 'm', why: 'no driver' }, { memory: 'm' }]) {
    t.same(checkPlaceAddress({ ...good, gpu }), { ...good, gpu });
  }
  const device = good.devices[0]!;
  const bad: unknown[] = [
    null,
    { host: '127.0.0.1', port: 1 },
    { ...good, devices: [] },
    { ...good, devices: 'soft0' },
    { ...good, devices: Array(65).fill(device) },
    { ...good, machine: '' },
    { ...good, devices: [{ ...device, port: 0 }] },
    { ...good, devices: [{ ...device, kind: 'carrier pigeon' }] },
    { ...good, devices: [{ ...device, host: 7 }] },
    { ...good, devices: [null] },
    { ...good, gpu: 'all' },
    { ...good, gpu: { probe: '{}' } },
    { ...good, gpu: { memory: 'm', probe: 'x'.repeat(1025) } },
  ];
  for (const value of bad) t.throws(() => checkPlaceAddress(value), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
});
