// Proves the pool's books against a naive model: blocks never overlap, keep their bytes until their last release, and
// come back; memory stays below the limit, follows use, and holds no process.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { type Block, MemoryPool } from '../../src/ts/ring/index.js';
import { sizeClassOf } from '../../src/ts/ring/size-class.js';
import { SeededChoices } from '../../src/ts/sim/choices.js';
import { simPort } from '../../src/ts/sim/port.js';
import { SimRegion } from '../../src/ts/sim/memory.js';
import { SimWorld } from '../../src/ts/sim/world.js';
import { content, DEVICE, hasContent, thrownCode } from './support.js';

/** A pool in a simulated process, whose time the test lets pass. */
function simulated(limitBytes?: number, idleMs?: number) {
  const options = { copier: 'process', tearShare: 0, weakOrder: false, pollBatch: 16, oneWriter: true } as const;
  const world = new SimWorld(new SeededChoices(1), options);
  const port = simPort(world, world.process('p'));
  const pool = MemoryPool.openOn(port, {
    ...(limitBytes === undefined ? {} : { limitBytes }),
    ...(idleMs === undefined ? {} : { idleMs }),
  });
  const { scheduler } = world;
  const pass = async (ms: number) => {
    let passed = false;
    scheduler.add(ms, undefined, false, () => {
      passed = true;
    });
    await scheduler.run(() => passed, Number.POSITIVE_INFINITY);
  };
  const regions = () => [...world.devices[0]!.objects].filter((object) => object instanceof SimRegion);
  return { pool, pass, regions, scheduler };
}

void t.test('sizes are rounded up to one of four for each power of two, by a fifth at most', async (t) => {
  let last = 0;
  for (let bytes = 0; bytes <= 70_000; bytes++) {
    const size = sizeClassOf(bytes);
    if (size < bytes || size % 64 !== 0 || size < last) t.fail(`${bytes} becomes ${size}`);
    if (bytes > 256 && size > bytes * 1.25) t.fail(`${bytes} becomes ${size}`);
    last = size;
  }
  for (const bytes of [2 ** 30 + 1, 2 ** 31, 2 ** 32 - 1]) t.ok(sizeClassOf(bytes) >= bytes);
  t.equal(new Set(Array.from({ length: 8192 }, (_, i) => sizeClassOf(i))).size, 4 + 4 * 5);
});

void t.test('blocks keep apart, keep their bytes, and come back: against a model', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 12, max: 20 }),
      fc.array(fc.tuple(fc.nat(9), fc.nat(2 ** 17)), { maxLength: 200 }),
      (limitBits, steps) => {
        const limitBytes = 2 ** limitBits;
        const { pool } = simulated(limitBytes);
        const live: { block: Block; seed: number; references: number }[] = [];
        let seed = 0;
        for (const [what, number] of steps) {
          const at = live.length === 0 ? undefined : live[number % live.length];
          if (what < 5 && at !== undefined) {
            at.block.release();
            if (--at.references === 0) live.splice(live.indexOf(at), 1);
          } else if (what === 5 && at !== undefined) {
            at.block.retain();
            at.references++;
          } else {
            const bytes = number % (Math.min(what < 8 ? 5000 : limitBytes, limitBytes) + 1);
            const block = pool.allocate(bytes);
            if (block === undefined) {
              if (live.length === 0) return false;
              continue;
            }
            seed++;
            if (block.bytes.length !== bytes || block.offset % 64 !== 0 || block.length !== bytes) return false;
            block.bytes.set(content(seed, bytes));
            live.push({ block, seed, references: 1 });
          }
          const { registeredBytes, usedBytes, blocks } = pool.status();
          if (registeredBytes > limitBytes || usedBytes > registeredBytes || blocks !== live.length) return false;
          const spans = live.map(({ block }) => [block.address, block.address + block.length] as const);
          spans.sort((a, b) => a[0] - b[0]);
          for (let i = 1; i < spans.length; i++) if (spans[i]![0] < spans[i - 1]![1]) return false;
        }
        if (!live.every(({ block, seed }) => hasContent(block.bytes, seed))) return false;
        for (const { block, references } of live) for (let i = 0; i < references; i++) block.release();
        const { usedBytes, blocks } = pool.status();
        return usedBytes === 0 && blocks === 0;
      },
    ),
    { numRuns: 200 },
  );
  t.pass('200 histories: no two blocks overlap, and all comes back');
});

void t.test('what was given back last is taken first; a block that has ended refers to nothing', async (t) => {
  const { pool, regions } = simulated();
  const [first, second] = [pool.allocate(1000)!, pool.allocate(1000)!];
  t.equal(regions().length, 1, 'small blocks share a segment');
  const { address } = first;
  t.equal(first.segment, second.segment);
  t.equal(first.segmentAddress + first.offset, address);
  first.retain();
  first.release();
  first.release();
  t.equal(
    thrownCode(() => first.release()),
    'RDMA_ERR_CLOSED',
  );
  t.equal(
    thrownCode(() => first.retain()),
    'RDMA_ERR_CLOSED',
  );
  const third = pool.allocate(990)!;
  t.equal(third.address, address);
  t.not(third, first);
  const large = pool.allocate(3_000_000)!;
  const rest = { segmentAddress: large.address, blocks: 3 };
  t.match({ ...pool.status(), segmentAddress: large.segmentAddress }, { ...rest, segments: 2 });
  large.release();
  const larger = pool.allocate(2_700_000)!;
  t.equal(larger.address, large.address, 'a large one serves others');
  pool.close();
});

void t.test('at the limit there is nothing until something comes back; idle segments make room', async (t) => {
  const { pool, regions } = simulated(2 ** 20);
  t.equal(
    thrownCode(() => pool.allocate(2 ** 20 + 1)),
    'RDMA_ERR_MESSAGE_TOO_LARGE',
  );
  const all = pool.allocate(2 ** 20)!;
  t.equal(all.bytes.length, 2 ** 20);
  t.equal(pool.allocate(0), undefined);
  all.release();
  const small = pool.allocate(1)!;
  t.ok(
    regions().every((region) => region.length < 2 ** 20),
    'the idle segment made room',
  );
  t.ok(pool.status().registeredBytes <= 2 ** 20);
  t.equal(pool.allocate(2 ** 20), undefined);
  small.release();
  t.ok(pool.allocate(2 ** 20));
  pool.close();
  for (const bytes of [-1, 0.5, 2 ** 32, '1', undefined]) {
    t.equal(
      thrownCode(() => pool.allocate(bytes as number)),
      'RDMA_ERR_INVALID_ARGUMENT',
    );
  }
  t.equal(
    thrownCode(() => pool.allocate(1)),
    'RDMA_ERR_CLOSED',
  );
});

void t.test('memory follows use: idle segments go back after some seconds, and then nothing ticks', async (t) => {
  const { pool, pass, regions, scheduler } = simulated(undefined, 5000);
  const blocks = Array.from({ length: 40 }, () => pool.allocate(100_000)!);
  const peak = pool.status();
  t.ok(peak.segments > 1 && peak.registeredBytes >= 4_000_000);
  for (const block of blocks.slice(1)) block.release();
  await pass(4000);
  t.equal(pool.status().segments, peak.segments, 'not at once');
  await pass(7000);
  t.match(pool.status(), { segments: 1, blocks: 1 });
  t.equal(regions().length, 1);
  blocks[0]!.bytes.fill(3);
  await pass(60_000);
  t.match(pool.status(), { segments: 1, blocks: 1 }, 'what is used stays');
  t.equal(blocks[0]!.bytes[99_999], 3);
  const { steps } = scheduler;
  await pass(60_000);
  t.equal(scheduler.steps, steps + 1, 'nothing idle, nothing ticks');
  blocks[0]!.release();
  await pass(12_000);
  t.match(pool.status(), { registeredBytes: 0, segments: 0, blocks: 0, usedBytes: 0 });
  pool.close();
  pool.close();
});

void t.test('a block in steady use keeps its segment; closing detaches what is left', async (t) => {
  const { pool, pass } = simulated(undefined, 1000);
  let address = 0;
  for (let i = 0; i < 20; i++) {
    const block = pool.allocate(50)!;
    if (i > 0) t.equal(block.address, address);
    ({ address } = block);
    block.release();
    await pass(600);
  }
  const left = pool.allocate(50)!;
  const { bytes } = left;
  pool.close();
  t.equal(bytes.length, 0);
  left.release();
  t.equal(left.bytes.length, 0);
});

void t.test('options are checked at the door', async (t) => {
  for (const wrong of [{ limitBytes: 4095 }, { limitBytes: 2 ** 41 }, { idleMs: 0 }, { limitBytes: '1' }]) {
    t.equal(
      thrownCode(() => MemoryPool.open(wrong as object)),
      'RDMA_ERR_INVALID_ARGUMENT',
    );
  }
  t.equal(
    thrownCode(() => MemoryPool.open({ device: 'nobody0' })),
    'RDMA_ERR_NO_DEVICE',
  );
});

void t.test('an idle pool keeps no process alive', { skip: DEVICE !== 'soft0' }, async (t) => {
  const ring = path.join(__dirname, '../../src/ts/ring/index.js');
  const code = `const pool = require(${JSON.stringify(ring)}).MemoryPool.open({ idleMs: 60000 });
    pool.allocate(10).release(); console.log(pool.status().segments);`;
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', code], { timeout: 20_000 });
  t.equal(stdout, '1\n');
});
