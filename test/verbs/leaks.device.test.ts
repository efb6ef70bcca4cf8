// Proves that opening and closing leaves nothing: after 100 000 rounds of each object (2 000 on rxe0) there are as many
// descriptors and mappings as before and hardly more memory; and that a device which is dropped is closed by the
// collector, with a warning.
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { Device, pathTo, QpType } from '../../src/ts/verbs/index.js';
import { collect } from '../garbage.js';
import { deviceName, ended, isSoft, openSide, patienceMs, type Side, startHelper } from './support.js';

const isSanitized = /[atm]san/.test(process.env.LD_PRELOAD ?? '');
const allRounds = isSoft && !isSanitized ? 100_000 : 2000;
/** A sanitizer keeps freed memory for a while, to find who still uses it. */
const allowedMib = isSanitized ? 256 : 12;

function usage() {
  const status = readFileSync('/proc/self/status', 'utf8');
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    mappings: readFileSync('/proc/self/maps', 'latin1')
      .split('\n')
      .filter((line) => line.includes('onepiece')).length,
    threads: kib('Threads'),
  };
}

/**
 * What is resident and not of V8's heap: the memory of malloc and of mmap, and files.
 *
 * V8 keeps pages of its heap that it does not use, and gives them back from a thread of its own: they are resident, but
 * in none of its figures. Others it counts before they are resident. So its figures cannot be subtracted. But V8 asks
 * for addresses in the lower half (V8, `GetRandomMmapAddr`), where the kernel puts nothing else by itself, except the
 * program and [heap]. On a machine where it does not, its pages count here: too much is seen, and never too little.
 */
function nativeMib(): number {
  let kib = 0;
  let isNative = true;
  for (const line of readFileSync('/proc/self/smaps', 'latin1').split('\n')) {
    const head = /^([0-9a-f]+)-[0-9a-f]+ \S+ \S+ \S+ (\d+)\s*(.*)$/.exec(line);
    if (head !== null) {
      const [, address, inode, name] = head;
      isNative = inode !== '0' || name !== '' || Number.parseInt(address!, 16) >= 2 ** 46;
    } else if (isNative && line.startsWith('Rss:')) kib += Number.parseInt(line.slice(4), 10);
  }
  return kib / 1024;
}

const own = new Uint8Array(4096);

const makers: Record<string, (side: Side) => { close(): void }> = {
  device: () => Device.open(deviceName),
  'protection domain': ({ device }) => device.allocateProtectionDomain(),
  'memory region': ({ pd }) => pd.registerMemory({ bytes: 4096 }),
  "region of a caller's buffer": ({ pd }) => pd.registerMemory({ buffer: own }),
  'memory window': ({ pd }) => pd.allocateMemoryWindow(),
  'address handle': ({ pd, qp, address }) => pd.createAddressHandle(pathTo(address, qp.endpoint(address))),
  'shared receive queue': ({ pd }) => pd.createSharedReceiveQueue(),
  'completion channel': ({ device }) => device.createCompletionChannel(() => undefined),
  'completion queue': ({ device }) => device.createCompletionQueue(256),
  'queue pair': ({ pd, cq }) => pd.createQueuePair({ sendCq: cq }),
  'datagram queue pair': ({ pd, cq, address }) => {
    const qp = pd.createQueuePair({ sendCq: cq, type: QpType.UD });
    qp.activate(address, 1);
    return qp;
  },
  'connected queue pair': ({ pd, cq, address }) => {
    const qp = pd.createQueuePair({ sendCq: cq });
    qp.connect(address, qp.endpoint(address));
    return qp;
  },
  'device with everything': () => {
    const side = openSide();
    side.qp.connect(side.address, side.qp.endpoint(side.address));
    side.device.onAsyncEvent(() => undefined);
    return side.device;
  },
};

t.setTimeout(0); // the rounds are counted; each part says so

for (const [name, make] of Object.entries(makers)) {
  const rounds = name === 'device with everything' ? allRounds / 10 : allRounds;
  void t.test(`${rounds} times a ${name} leaves nothing behind`, async (t) => {
    const side = openSide();
    const run = async (count: number) => {
      for (let i = 0; i < count; i++) {
        make(side).close();
        // libuv lets go of a watched descriptor in the next turn.
        if (i % 50 === 49) await new Promise((resolve) => setImmediate(resolve));
      }
      collect(); // what JavaScript has not collected yet is no leak
    };
    await run(rounds / 10);
    const before = usage();
    // The least of each half: what V8 keeps for a while comes and goes, a leak only grows.
    const half = async () => {
      const least: number[] = [];
      for (let part = 0; part < 5; part++) {
        await run(rounds / 10);
        least.push(nativeMib());
        t.comment(`${least.at(-1)!.toFixed(1)} MiB are native`);
      }
      return Math.min(...least);
    };
    const first = await half();
    const second = await half();
    const after = usage();
    t.equal(after.descriptors, before.descriptors, 'descriptors');
    t.equal(after.mappings, before.mappings, 'mappings');
    t.equal(after.threads, before.threads, 'threads');
    t.ok(second - first < allowedMib, `native memory grew by ${(second - first).toFixed(1)} MiB`);
    side.device.close();
  });
}

void t.test(
  'a device that was dropped is closed by the collector, with a warning that names what was open',
  async (t) => {
    const { how, output } = await ended(startHelper('dropped', [], ['--expose-gc']), 3 * patienceMs);
    t.equal(how, '0', 'the exit code', { output });
    t.match(output, /RDMA_WARN_LEAK/);
    t.match(output, new RegExp(`${deviceName} was dropped with open objects \\(.*memory region.*\\)`));
  },
);
