// Proves what is taken for the room that is left, on recorded machines.
import t from 'tap';
import { bytesInWords, controlGroupRoom, memoryRoom } from '../../src/ts/core/memory-room.js';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const meminfo = (availableKib: number, swapKib = 0) =>
  `MemTotal:       16000000 kB\nMemAvailable:   ${availableKib} kB\nSwapFree:       ${swapKib} kB\n`;
const machine = (files: Record<string, string>) => (path: string) => files[path];
const group = (folder: string, max: string, current: number, cache = 0) => ({
  [`${folder}/memory.max`]: `${max}\n`,
  [`${folder}/memory.current`]: `${current}\n`,
  [`${folder}/memory.stat`]: `anon 12\ninactive_file ${cache}\nactive_file 7\n`,
});

void t.test('the machine, with its swap', async (t) => {
  t.match(memoryRoom(machine({ '/proc/meminfo': meminfo(2 ** 20) })), {
    bytes: GiB,
    words: 'the machine has 1.0 GiB left (MemAvailable)',
  });
  const swap = memoryRoom(machine({ '/proc/meminfo': meminfo(2 ** 20, 2 ** 20) }));
  t.match(swap, { bytes: 2 * GiB, words: 'the machine has 1.0 GiB and 1.0 GiB of swap left (MemAvailable)' });
  t.equal(memoryRoom(machine({})), undefined, 'nothing is known');
});

void t.test('the tightest control group of all above the process, without what is only cached', async (t) => {
  const files = {
    '/proc/meminfo': meminfo(8 * 2 ** 20),
    '/proc/self/cgroup': '0::/user.slice/app.scope\n',
    ...group('/sys/fs/cgroup/user.slice/app.scope', 'max', 5 * MiB),
    ...group('/sys/fs/cgroup/user.slice', String(2 * GiB), GiB, 512 * MiB),
  };
  const expected = {
    bytes: 1.5 * GiB,
    words: 'the control group /user.slice leaves 1.5 GiB of 2.0 GiB (memory.max)',
  };
  t.match(memoryRoom(machine(files)), expected);
  t.match(controlGroupRoom(machine(files)), expected);
});

void t.test('a container sees its own group as the root', async (t) => {
  const files = {
    '/proc/meminfo': meminfo(8 * 2 ** 20, 2 ** 20),
    '/proc/self/cgroup': '0::/\n',
    ...group('/sys/fs/cgroup', String(GiB), 2 * GiB),
    '/sys/fs/cgroup/memory.swap.max': '0\n',
  };
  t.match(memoryRoom(machine(files)), { bytes: 0, words: /control group \/ leaves 0 bytes of 1\.0 GiB/ });
  const { '/sys/fs/cgroup/memory.swap.max': _, ...swapping } = files;
  t.equal(memoryRoom(machine(swapping))?.bytes, GiB, 'where it may swap, that is room too');
});

void t.test('control groups of version 1', async (t) => {
  const folder = '/sys/fs/cgroup/memory';
  const files = {
    '/proc/meminfo': meminfo(8 * 2 ** 20),
    '/proc/self/cgroup': '12:pids:/docker/abc\n5:memory:/docker/abc\n0::/docker/abc\n',
    [`${folder}/docker/abc/memory.limit_in_bytes`]: '9223372036854771712\n',
    [`${folder}/docker/abc/memory.usage_in_bytes`]: '1000\n',
    [`${folder}/memory.limit_in_bytes`]: `${GiB}\n`,
    [`${folder}/memory.usage_in_bytes`]: `${512 * MiB}\n`,
    [`${folder}/memory.stat`]: 'inactive_file 3\ntotal_inactive_file 1048576\n',
  };
  t.match(memoryRoom(machine(files)), { bytes: 513 * MiB, words: /memory\.limit_in_bytes/ });
});

void t.test('this machine', async (t) => {
  const room = memoryRoom();
  t.ok(room === undefined || room.bytes > 0);
});

void t.test('bytes in words', async (t) => {
  const pairs = [
    [0, '0 bytes'],
    [1023, '1023 bytes'],
    [1536, '1.5 KiB'],
    [200 * MiB, '200 MiB'],
    [5.25 * GiB, '5.3 GiB'],
  ] as const;
  for (const [bytes, words] of pairs) t.equal(bytesInWords(bytes), words);
});
