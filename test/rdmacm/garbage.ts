// Calls the connection manager's native functions with garbage. Ends with 0 when everything was answered.
import fc from 'fast-check';
import { type NativeCmEvent, nativeCm } from '../../src/ts/rdmacm/native-cm.js';
import { encodeAddress } from '../../src/ts/rdmacm/socket-address.js';
import { deviceAddress, isSoft } from './support.js';

const addon = nativeCm() as unknown as Record<string, (...values: unknown[]) => unknown>;
const names = Object.keys(addon).filter((name) => /cm/i.test(name));
const address = isSoft ? '127.0.0.1' : deviceAddress();
const real = [0, 7174].map((port) => encodeAddress('address', { address, port }));

/** A channel, and ids that are fresh, listening, resolved; empty where there is no connection manager. */
function open(): number[] {
  const channel = addon.openCmChannel!();
  if (typeof channel !== 'number') return [];
  const ids = [0x106, 0x106, 0x106, 0x111].map((space) => addon.createCmId!(channel, space) as number);
  addon.bindCm!(ids[1], real[0]);
  addon.listenCm!(ids[1], 4);
  addon.resolveCmAddress!(ids[2], undefined, real[1], 1000);
  addon.resolveCmAddress!(ids[3], undefined, real[1], 1000);
  return [channel, ...ids];
}

const close = (handles: readonly number[]) => {
  for (const handle of handles.toReversed()) addon.close!(handle);
};

function main(): void {
  if (process.connected) process.disconnect();
  if (names.length < 17) throw new Error(`only ${names.join()}`);
  let handles = open();
  const numbers = [0, -0, 1, -1, 0.5, 5, 255, 256, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 1e300, -1e300, Number.NaN, Infinity];
  const others = [null, undefined, true, 'soft0', Symbol('s'), 10n, {}, [], () => 1];
  const arrays = [
    ...real,
    ...[0, 7, 9, 27].map((n) => new Uint32Array(n)),
    ...[0, 16, 24, 56, 148, 255, 256].map((n) => new Uint8Array(n)),
  ];
  const odd = new Uint8Array(24).fill(255);
  const argument = fc.oneof(
    { weight: 4, arbitrary: fc.nat(4).map((i) => () => handles[i]) },
    {
      weight: 4,
      arbitrary: fc
        .constantFrom<unknown>(...arrays, odd, new Uint32Array(7).fill(0xffffffff))
        .map((value) => () => value),
    },
    { weight: 3, arbitrary: fc.constantFrom<unknown>(...numbers, ...others).map((value) => () => value) },
  );
  let calls = 0;
  fc.assert(
    fc.property(fc.constantFrom(...names), fc.array(argument, { maxLength: 6 }), (name, makers) => {
      try {
        const result = addon[name]!(...makers.map((make) => make()));
        const made = /^(open|create)/.test(name) && typeof result === 'number' && result > 0;
        if (made) addon.close!(result);
        const event = name === 'nextCmEvent' ? (result as NativeCmEvent | undefined) : undefined;
        if (event?.request) addon.close!(event.request);
      } catch (error) {
        if (!(error instanceof Error)) throw error;
      }
      if (++calls % 200 === 0) {
        close(handles);
        handles = open();
      }
    }),
    { numRuns: isSoft ? 20_000 : 4000, endOnFailure: true },
  );
  console.log(handles.length > 0 ? 'all answered, ids open' : 'all answered');
  close(handles);
}

main();
