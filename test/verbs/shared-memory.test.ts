// Proves: memory that one process creates and another maps is the same memory, outlives its writer, and goes with its
// last user; a descriptor of anything else is refused.
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import t from 'tap';
import { createSharedMemory, mapSharedMemory, releaseSharedMemory } from '../../src/ts/verbs/shared-memory.js';
import type { RdmaError } from '../../src/ts/core/errors.js';

const codeOf = (work: () => unknown): string => {
  try {
    work();
    return 'none';
  } catch (error) {
    return (error as RdmaError).code;
  }
};

const descriptors = () =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes('onepiece-shared');
    } catch {
      return false;
    }
  });

void t.test('what a child has written is there after it has ended, whatever ended it', (t) => {
  const { fd, buffer } = createSharedMemory(4096);
  const words = new Int32Array(buffer);
  t.equal(words.length, 1024);
  t.ok(
    words.every((word) => word === 0),
    'zeroed',
  );
  const script = `
    const { mapSharedMemory } = require(process.argv[1]);
    const words = new Int32Array(mapSharedMemory(3, 4096));
    Atomics.store(words, 1023, words[0] + 1);
    process.kill(process.pid, 'SIGKILL');
  `;
  words[0] = 41;
  const file = require.resolve('../../src/ts/verbs/shared-memory.js');
  const { signal } = spawnSync(process.execPath, ['-e', script, file], { stdio: ['ignore', 2, 2, fd] });
  t.equal(signal, 'SIGKILL');
  t.equal(Atomics.load(words, 1023), 42);
  closeSync(fd);
  t.same(descriptors(), []);
  t.equal(Atomics.load(words, 1023), 42, 'also without the descriptor');
  t.end();
});

void t.test('two mappings of one descriptor are one memory', (t) => {
  const { fd, buffer } = createSharedMemory(100);
  const other = new Uint8Array(mapSharedMemory(fd, 100));
  closeSync(fd);
  new Uint8Array(buffer)[99] = 7;
  t.equal(other[99], 7);
  t.end();
});

void t.test('sizes out of range, and descriptors of something else, are refused', (t) => {
  for (const bytes of [0, -1, 1.5, 2 ** 30 + 1, Number.NaN, '1']) {
    t.equal(
      codeOf(() => createSharedMemory(bytes as number)),
      'RDMA_ERR_INVALID_ARGUMENT',
      String(bytes),
    );
  }
  const { fd } = createSharedMemory(4096);
  t.equal(
    codeOf(() => mapSharedMemory(fd, 8192)),
    'EINVAL',
    'of another size',
  );
  t.equal(
    codeOf(() => mapSharedMemory(fd, 2048)),
    'EINVAL',
  );
  closeSync(fd);
  t.equal(
    codeOf(() => mapSharedMemory(fd, 4096)),
    'EBADF',
  );
  const file = openSync(__filename, 'r');
  t.equal(
    codeOf(() => mapSharedMemory(file, 4096)),
    'EINVAL',
    'a file can shrink',
  );
  closeSync(file);
  t.equal(
    codeOf(() => mapSharedMemory(-1, 4096)),
    'RDMA_ERR_INVALID_ARGUMENT',
  );
  t.end();
});

void t.test('what is released has no bytes and is unmapped, and others keep it', async (t) => {
  const mappings = () => readFileSync('/proc/self/maps', 'utf8').split('memfd:onepiece-shared').length - 1;
  const { fd, buffer } = createSharedMemory(4096);
  const other = mapSharedMemory(fd, 4096);
  closeSync(fd);
  new Uint8Array(buffer)[0] = 9;
  const before = mappings();
  releaseSharedMemory(buffer);
  t.equal(buffer.byteLength, 0);
  for (let turn = 0; mappings() >= before && turn < 1000; turn++) await new Promise((resolve) => setImmediate(resolve));
  // What earlier tests have left may have been collected meanwhile.
  t.ok(mappings() < before);
  t.equal(new Uint8Array(other)[0], 9);
  t.equal(
    codeOf(() => releaseSharedMemory(7 as never)),
    'EINVAL',
  );
});
