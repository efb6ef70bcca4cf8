// Proves that nothing waits, gives up or counts by the wall clock, which people and NTP set while programs run.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { findRoot } from '../package/root.js';
import { DEVICE } from '../pipeline/support.js';

/** Loaded before everything else, in the workers too: the wall clock jumps hours to and fro. */
const JUMPS = `
  const RealDate = Date;
  const jump = () => (process.hrtime()[1] % 2 === 0 ? 1 : -1) * 36e5 * (1 + (process.hrtime()[1] % 1000));
  globalThis.Date = class extends RealDate {
    constructor(...args) { if (args.length === 0) super(RealDate.now() + jump()); else super(...args); }
    static now() { return RealDate.now() + jump(); }
  };
`;

const PROGRAM = `
  const { LocalPipeline } = require(process.argv[1]);
  const { chain, obedient } = { ...require(process.argv[2]), ...require(process.argv[3]) };
  const device = process.argv[4];
  const outcome = (promise) => promise.then(() => 'ok', (error) => error.code);
  const second = () => new Promise((resolve) => setTimeout(resolve, 1000));
  (async () => {
    const seen = [];
    const pipeline = await LocalPipeline.start(chain, { device, maxRestarts: 1 });
    for (let i = 0; i < 20; i++) seen.push(await outcome(pipeline.run({}, { timeoutMs: 10000, trace: true })));
    process.kill(pipeline.processes[0].pid, 'SIGKILL');
    seen.push(await outcome(pipeline.run({}, { timeoutMs: 20000 })));
    await pipeline.close();
    const other = await LocalPipeline.start(obedient, { device });
    const begin = process.hrtime.bigint();
    const late = await outcome(other.run({ meta: { act: 'wait' } }, { timeoutMs: 500 }));
    const ms = Number(process.hrtime.bigint() - begin) / 1e6;
    await other.close();
    console.log(JSON.stringify({ seen: [...new Set(seen)], late, onTime: ms >= 499 && ms < 5000 }));
  })();
`;

void t.test('requests, deadlines and restarts under a wall clock that jumps', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'wall-clock-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const jumps = join(folder, 'jumps.cjs');
  writeFileSync(jumps, JUMPS);
  const files = ['../../src/ts/cluster/index.js', './faulty.js', '../pipeline/workflows.js'];
  const args = ['--require', jumps, '-e', PROGRAM, ...files.map((file) => require.resolve(file)), DEVICE];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 });
  t.equal(status, 0, stderr);
  t.same(JSON.parse(stdout), { seen: ['ok'], late: 'RDMA_ERR_DEADLINE', onTime: true });
});

/**
 * Where the wall clock is for people to read, or another library wants it; and what outlives the process whose own
 * clock nobody else has: when a stored job came and expires, how old a file is, and from when to when a certificate
 * holds.
 */
const readers = [
  '../../bench/peers/messengers/grpc.ts',
  '../../bench/peers/overload/bullmq-main.ts',
  '../../bench/peers/overload/bullmq.ts',
  'cli/bench-ring.ts',
  'cli/events.ts',
  'cli/jobs.ts',
  'cluster/autoscaler.ts', // the time of the day that the first forecast begins at
  'cluster/certificates.ts',
  'cluster/cluster-events.ts',
  'cluster/supervised-place.ts',
  'connect/tls-identity.ts',
  'jobs/store.ts',
  'jobs/value-files.ts',
  'observe/cluster-observer.ts',
  'observe/observer.ts',
  'observe/units.ts',
];

void t.test('only what people read has the wall clock', async (t) => {
  const folder = join(findRoot(), 'src/ts');
  const sourcesIn = (path: string) =>
    readdirSync(join(folder, path), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => join(path, name));
  const files = [...sourcesIn('.'), ...sourcesIn('../../bench/peers')];
  t.ok(files.length > 100);
  const found = files.filter((name) => /\bDate\b(\.now|\()|new Date/.test(readFileSync(join(folder, name), 'utf8')));
  t.same(found.sort(), readers);
  const native = join(findRoot(), 'src/native');
  const sources = readdirSync(native, { recursive: true, encoding: 'utf8' }).filter((name) => /\.(cc|h)$/.test(name));
  const calls = /CLOCK_REALTIME|gettimeofday|system_clock|\btime\((nullptr|NULL|0)\)/;
  t.same(
    sources.filter((name) => calls.test(readFileSync(join(native, name), 'utf8'))),
    [],
  );
});
