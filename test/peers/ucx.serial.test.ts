// Proves: UCX is measured with every operation, what is no table is an error, and its absence is said.
import t from 'tap';
import { figures, ucxLatency, ucxName, ucxRate } from '../../bench/peers/ucx.js';
import { lacking } from './support.js';

const lack = lacking(ucxName);

void t.test('each operation gives percentiles, and a rate', { skip: lack }, async (t) => {
  t.match(ucxName(), /^UCX \d/);
  for (const operation of ['put', 'send', 'get'] as const) {
    const [small, large] = await ucxLatency(operation, [
      { sizeBytes: 64, iterations: 2000 },
      { sizeBytes: 1 << 20, iterations: 50 },
    ]);
    t.match(small, { peer: ucxName(), operation, transport: 'shared-memory', sizeBytes: 64, samplesUs: null });
    t.ok(large!.latencyUs.p50 > small!.latencyUs.p50, `${operation}: ${JSON.stringify([small, large])}`);
  }
  for (const operation of ['put', 'send'] as const) {
    const [rate] = await ucxRate(operation, [{ sizeBytes: 64, iterations: 20_000 }]);
    t.ok(rate!.messagesPerSecond > 1000, `${rate?.messagesPerSecond} a second`);
  }
});

void t.test('a run can be stopped', { skip: lack }, async (t) => {
  const signal = AbortSignal.timeout(500);
  const run = ucxLatency('send', [{ sizeBytes: 1 << 20, iterations: 1_000_000 }], { signal });
  await t.rejects(run, { code: 'RDMA_ERR_ABORTED' });
});

void t.test('the last row below the header is read, by the names of its columns', (t) => {
  const header = 'iterations,99.0_percentile_lat,avg_lat,overall_lat,avg_bw,overall_bw,avg_mr,overall_mr';
  const said = `a warning\n${header}\n200000,0.085,0.063,0.064,965.63,965.63,15820846,15820847\n`;
  t.strictSame(figures(said), { percentileUs: 0.085, messagesPerSecond: 15_820_847 });
  for (const broken of ['', header, `${header}\n1,x,2`, 'no header\n1,2,3', `${header}\n1,,3,4,5,6,7`]) {
    t.throws(() => figures(broken), { code: 'RDMA_ERR_PROTOCOL' }, broken);
  }
  t.end();
});

void t.test('where it is not installed the package is named', (t) => {
  const path = process.env.PATH;
  t.teardown(() => {
    process.env.PATH = path;
  });
  process.env.PATH = '/nonexistent';
  t.throws(() => ucxName(), { code: 'RDMA_ERR_INVALID_ARGUMENT', remedy: /apt-get install ucx-utils/ });
  t.end();
});
