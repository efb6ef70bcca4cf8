// Proves that the choice of an address depends on the table alone, follows the documented order, and says why.
import t from 'tap';
import { formatGid, type GidEntry, parseGidText, rankGids } from '../../src/ts/verbs/index.js';

const entry = (index: number, gid: string, type: string): GidEntry => ({ index, gid, type, netdev: 'eth0' });
const ipv4 = (last: string) => `00000000000000000000ffff0a0000${last}`;
const global = '20010db8000000000000000000000001';
const linkLocal = 'fe800000000000000202c9fffe000001';
const zero = '0'.repeat(32);
const bare = `fe80${'0'.repeat(28)}`;

// Best first.
const order: [string, GidEntry][] = [
  ['a soft device', entry(9, 'fd000012000004d2000102030405060f', 'soft')],
  ['RoCE v2 over IPv4', entry(8, ipv4('01'), 'RoCE v2')],
  ['RoCE v2 over global IPv6', entry(7, global, 'RoCE v2')],
  ['RoCE v2 over a link-local address', entry(6, linkLocal, 'RoCE v2')],
  ['RoCE v2 over a link-local IPv4 address', entry(6, '00000000000000000000ffffa9fe0001', 'RoCE v2')],
  ['InfiniBand', entry(5, '20010db8000000000002c90300a1b2c3', 'IB')],
  ['InfiniBand with the default prefix', entry(4, 'fe800000000000000002c90300a1b2c3', 'IB')],
  ['RoCE v1', entry(3, ipv4('01'), 'RoCE v1')],
];

void t.test('each kind of address is preferred to all that follow it, wherever they stand', async (t) => {
  for (const [i, [name, best]] of order.entries()) {
    const worse = order.slice(i).map(([, other]) => other);
    t.equal(rankGids(worse)[0]?.index, best.index, name);
    t.equal(rankGids(worse.toReversed())[0]?.index, best.index, `${name}, in the other order`);
  }
});

void t.test('among equals the lowest index wins', async (t) => {
  t.equal(rankGids([entry(2, ipv4('02'), 'RoCE v2'), entry(5, ipv4('01'), 'RoCE v2')])[0]?.index, 2);
});

void t.test('empty entries and a bare link-local prefix are passed over', async (t) => {
  t.same(rankGids([]), []);
  const useless = rankGids([entry(0, zero, 'RoCE v2'), entry(1, bare, 'IB')]);
  t.same(
    useless.map(({ usable, why }) => [usable, why]),
    [
      [false, 'the entry is empty'],
      [false, 'a link-local prefix without an interface'],
    ],
  );
  t.equal(rankGids([entry(0, zero, 'RoCE v2'), entry(1, linkLocal, 'RoCE v1')])[0]?.index, 1);
});

void t.test('the choice carries its entry its score, and a reason that names the address', async (t) => {
  const [choice] = rankGids([entry(1, ipv4('07'), 'RoCE v2')]);
  t.same(choice, { ...entry(1, ipv4('07'), 'RoCE v2'), score: 1, usable: true, why: 'RoCE v2 over IPv4 10.0.0.7' });
});

void t.test('a GID is written as IPv4 when it is a mapped one, else as compressed IPv6', async (t) => {
  t.equal(formatGid(ipv4('ff')), '10.0.0.255');
  t.equal(formatGid(global), '2001:db8::1');
  t.equal(formatGid(linkLocal), 'fe80::202:c9ff:fe00:1');
  t.equal(formatGid(zero), '::');
  t.equal(formatGid('nonsense'), 'nons:ense', 'what is no GID is not made one');
});

void t.test('a GID is read from digits, IPv4 and IPv6, and from nothing else', async (t) => {
  for (const gid of [ipv4('ff'), global, linkLocal, zero]) {
    t.equal(parseGidText(gid.toUpperCase()), gid);
    t.equal(parseGidText(formatGid(gid)), gid, formatGid(gid));
  }
  t.equal(parseGidText('::ffff:10.0.0.7'), ipv4('07'));
  for (const text of ['', '10.0.0', '10.0.0.256', 'fe80::1%eth0', 'eth0', global.slice(1)]) {
    t.equal(parseGidText(text), undefined, text);
  }
});
