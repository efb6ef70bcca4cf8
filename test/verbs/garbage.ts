// Calls native functions with garbage. Ends with 0 when everything was answered by a value or an error.
import fc from 'fast-check';
import { native, type NativeAddon } from '../../src/ts/addon/native.js';
import { openPair, takeOne } from './support.js';

type Native = Record<string, (...values: unknown[]) => unknown>;
const addon = native() as unknown as NativeAddon & Native;

/** The word of the frame that says how often to look. */
const LOOKS = 3;

/** Sizes between what is small and what no machine has are left out: they would be granted. */
const sizes = [0, -0, 1, -1, 8, 4096, 65536, 2 ** 20, 2 ** 46, 2 ** 53, 2 ** 63, 2 ** 64, -(2 ** 31), -(2 ** 53)];
const numbers = [
  ...sizes,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  0.5,
  -0.5,
  1e300,
  -1e300,
  Number.NaN,
  Number.POSITIVE_INFINITY,
];
const others = [null, undefined, true, '', 'soft0', '1', Symbol('s'), 10n, {}, [], () => 1, new Date(0), /x/];
const awkward = [
  new Uint32Array(23),
  new Uint8Array(16),
  new Float64Array(3),
  new ArrayBuffer(8),
  new Proxy({}, {}),
  {
    valueOf() {
      throw new Error('no number');
    },
  },
];

function functions(): void {
  // Handles of every kind, replaced whenever garbage has closed them.
  let handles: number[] = [];
  const refresh = () => {
    const device = addon.openDevice('soft0') as number;
    const pd = addon.allocatePd(device);
    const cq = addon.createCq(device, 16, 0) as { handle: number };
    const channel = addon.createChannel(device);
    const mr = addon.registerMemory(pd, 4096, 7, 0) as { handle: number };
    const qp = addon.createQp(pd, cq.handle, cq.handle, 0, 2, 8, 8, 4, 4, 64, false) as { handle: number };
    handles = [device, pd, cq.handle, channel, mr.handle, qp.handle];
    return handles;
  };
  refresh();
  // These end this process, as they should: for a parent that is not there, and after so many ms.
  const ending = ['dieWithParent', 'exitWithin'];
  const names = Object.keys(addon).filter((name) => typeof addon[name] === 'function' && !ending.includes(name));
  const frame = new Int32Array(addon.frame);
  if (names.length < 20) throw new Error(`only ${names.join()}`);
  const handle = fc.nat(5).map((i) => () => handles[i]);
  const garbage = fc.constantFrom<unknown>(...numbers, ...others, ...awkward).map((value) => () => value);
  const word = fc.integer().map((value) => () => value);
  const argument = fc.oneof({ weight: 3, arbitrary: handle }, { weight: 4, arbitrary: garbage }, word);
  fc.assert(
    fc.property(fc.constantFrom(...names), fc.array(argument, { maxLength: 12 }), (name, makers) => {
      const values = makers.map((make) => make());
      // Between 1 MiB and 64 TiB a size may be granted, and the machine has no use for that.
      if (name === 'registerMemory' && typeof values[1] === 'number' && values[1] > 2 ** 20 && values[1] < 2 ** 46)
        return;
      try {
        // The hot path's arguments stand in the frame; looking a million times is only slow.
        for (const [i, value] of values.slice(0, 5).entries()) frame[i] = value as number;
        frame[LOOKS]! &= 255;
        const result = (addon as Native)[name]!(...values);
        const opened = typeof result === 'object' && result !== null ? (result as { handle?: number }).handle : result;
        const makes = /^(open|allocate|create|register)/.test(name);
        if (makes && typeof opened === 'number' && opened > 0) addon.close(opened);
      } catch (error) {
        if (!(error instanceof Error)) throw error;
      }
      if (name === 'close' || name === 'deregisterMemory') {
        for (const old of handles.toReversed()) addon.close(old);
        refresh();
      }
    }),
    { numRuns: 20_000, endOnFailure: true },
  );
}

async function records(): Promise<void> {
  const word = fc.oneof(fc.nat(5), fc.integer({ min: 0, max: 0xffffffff }));
  const double = fc.oneof(fc.constantFrom(...numbers), fc.double());
  for (let round = 0; round < 40; round++) {
    const { a, b } = openPair({ maxInlineData: 64 }, { timeout: 1, retryCount: 0, rnrRetry: 0 });
    const real = fc.constantFrom(a.mr.address, b.mr.address, a.mr.address + 65535);
    const key = fc.oneof(word, fc.constantFrom(a.mr.lkey, b.mr.rkey));
    const piece = fc.record({ address: fc.oneof(real, double), length: word, lkey: key });
    const pieces = fc.array(piece, { maxLength: 6 });
    fc.assert(
      fc.property(word, word, word, fc.oneof(real, double), key, pieces, (opcode, flags, imm, remote, rkey, list) => {
        for (const run of [
          () => {
            a.qp.sends.set(0, opcode, 1, flags, imm, remote, rkey, list);
            a.qp.postSend(1);
          },
          () => {
            b.qp.receives.set(0, 1, list);
            b.qp.postReceive(1);
          },
          () => a.cq.poll(),
          () => b.cq.poll(),
        ]) {
          try {
            run();
          } catch (error) {
            if (!/^(EINVAL|ENOTSUP|EOPNOTSUPP|RDMA_ERR_QUEUE_FULL)$/.test((error as { code?: string }).code ?? ''))
              throw error;
          }
        }
      }),
      { numRuns: 250, endOnFailure: true },
    );
    a.device.close();
    b.device.close();
  }
  // And then all is well.
  const { a, b } = openPair();
  a.qp.sends.write(0, 1, 2, b.mr.address, b.mr.rkey, a.mr.address, 8, a.mr.lkey);
  a.qp.postSend(1);
  if ((await takeOne(a.cq)).status !== 0) throw new Error('a right request failed');
}

async function main(): Promise<void> {
  if (process.connected) process.disconnect();
  if (process.argv[2] === 'functions') functions();
  else await records();
  console.log('all answered');
}

void main();
