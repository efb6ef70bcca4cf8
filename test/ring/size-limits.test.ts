// Proves that the error for a message which is too large names the limits that stop it, and none that does not.
import t from 'tap';
import { Inbox, Outbox } from '../../src/ts/ring/index.js';
import { type SizeLimits, sizeRemedy } from '../../src/ts/ring/size-limits.js';

const KIB = 1024;
const usual: SizeLimits = {
  ...{ dataBytes: KIB, retainBytes: 4 * KIB, grantedBytes: KIB },
  ...{ pullBytes: 2 ** 30, maxPullBytes: 0 },
};

const cases: [string, number, Partial<SizeLimits>, RegExp, RegExp][] = [
  [
    'nothing is pulled',
    8 * KIB,
    {},
    /maxPullBytes of the inbox \(now 0\); or .*dataBytes.*retainBytes/,
    /pullBytes of the outbox/,
  ],
  [
    'the lane is too short',
    2 * KIB,
    {},
    /dataBytes of the outbox \(now 1024\), maxDataBytes of the inbox$/,
    /retainBytes/,
  ],
  [
    'the inbox granted less',
    900,
    { grantedBytes: 512 },
    /lane hold it: raise maxDataBytes of the inbox \(now 512\)$/,
    /dataBytes of the outbox/,
  ],
  [
    'the outbox keeps too little',
    8 * KIB,
    { dataBytes: 16 * KIB, grantedBytes: 16 * KIB },
    /hold it: raise retainBytes of the outbox \(now 4096\)$/,
    /hold it:.*dataBytes of the outbox/,
  ],
  [
    'the inbox pulls more than the outbox keeps',
    2 ** 30 + 1,
    { maxPullBytes: 2 ** 32 - 1 },
    /pull it: raise pullBytes of the outbox \(now 1073741824\);/,
    /maxPullBytes/,
  ],
  [
    'both pull too little',
    2 ** 31 + 1,
    { maxPullBytes: KIB },
    /raise pullBytes of the outbox .* and maxPullBytes of the inbox \(now 1024\)$/,
    /lane/,
  ],
  ['no limit can be raised so far', 2 ** 32, {}, /^send it as several messages: .* 4294967295 bytes$/, /raise/],
];

for (const [name, length, limits, has, hasNot] of cases) {
  void t.test(`too large, as ${name}`, async (t) => {
    const remedy = sizeRemedy(length, { ...usual, ...limits });
    t.match(remedy, has);
    t.notMatch(remedy, hasNot);
  });
}

void t.test('what the remedy names lets the message through', async (t) => {
  const secret = 'only the two of us';
  const bytes = new Uint8Array(100 * KIB).fill(7);
  const small = { dataBytes: KIB, pullBytes: KIB };
  const inbox = await Inbox.listen({
    secret,
    maxPullBytes: 2 ** 20,
    maxDataBytes: 64 * KIB,
    onMessage: (m) => m.done(),
  });
  t.teardown(() => inbox.close());
  const remedyOf = async (options: object) => {
    const outbox = await Outbox.connect({ to: inbox.bootstrap, secret, ...options });
    try {
      outbox.trySend(bytes);
      await outbox.whenAcknowledged();
      return 'none';
    } catch (error) {
      return (error as { remedy?: string }).remedy;
    } finally {
      await outbox.close();
    }
  };
  const remedy = await remedyOf(small);
  t.match(
    remedy,
    /^let the inbox pull it: raise pullBytes of the outbox \(now 1024\); or let the lane hold it: raise dataBytes/,
  );
  t.equal(await remedyOf({ ...small, pullBytes: 2 ** 20 }), 'none', 'the first way');
  const wider = { ...small, dataBytes: 128 * KIB, retainBytes: 512 * KIB };
  t.match(
    await remedyOf(wider),
    /or let the lane hold it: raise maxDataBytes of the inbox \(now 65536\)$/,
    'the second way',
  );
});
