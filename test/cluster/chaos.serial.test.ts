// Proves that a pipeline of real processes accounts for every request, whatever happens to its processes and to its
// requests: see chaos.ts; and for every job that it has accepted, whatever happens to its gateway: see
// gateway-chaos.ts. The bounded part of `npm run chaos:pipeline`.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { tensor } from '../../src/ts/pipeline/index.js';
import { runChaos, whatIsWrong } from './chaos.js';
import { endsOf, planBlow, planRequest, type RequestPlan, rightResult, shardSum } from './chaos-plan.js';
import { whatDoesNotFit } from './chaos-workflow.js';
import { runGatewayChaos } from './gateway-chaos.js';
import { endOfError, jobEndsOf, planGatewayBlow, planJob } from './gateway-plan.js';

/** Another one in each run, so that the runs of a year see more than those of a day; a failure names it. */
const seed = 1 + (Math.floor(Date.now() / 1000) % 1_000_000_000);

void t.test('a seed chooses the same each time, and seeds choose everything', async (t) => {
  t.same(planRequest(7, 3), planRequest(7, 3));
  t.same(planBlow(7, 3, 20), planBlow(7, 3, 20));
  const blows = Array.from({ length: 300 }, (_, k) => planBlow(5, k, 20));
  t.equal(new Set(blows.map(({ fault }) => fault)).size, 6);
  t.equal(new Set(blows.map(({ stage, instances }) => `${stage} ${instances}`)).size, 12);
  const plans = Array.from({ length: 4000 }, (_, n) => planRequest(5, n));
  t.equal(new Set(plans.map(({ act, where }) => `${act} ${where}`)).size, 16);
  const isEnded = ({ abortMs, timeoutMs }: RequestPlan) => abortMs !== undefined || timeoutMs !== undefined;
  const hang = plans.filter(({ act }) => act === 'hang' || act === 'deaf');
  t.ok(hang.every(isEnded), 'what hangs has somebody who ends it');
  t.ok(hang.every((plan) => !endsOf(plan).includes('ok')));
  const plain = plans.filter((plan) => plan.act === 'work' && !isEnded(plan));
  t.ok(plain.length > 2000);
  t.ok(plain.every((plan) => endsOf(plan).join() === 'RDMA_ERR_REJECTED,ok'));
});

void t.test('the check finds what it looks for', async (t) => {
  const plan = { ...planRequest(1, 0), bytes: 64 };
  const { meta, bytes } = rightResult(1, plan);
  const output = (changed: object, data = bytes) => ({
    outputs: [
      {
        stage: 'join',
        instance: 0,
        meta: { ...meta, ...changed },
        parts: { x: tensor('u8', [data.length], data) },
      },
    ],
  });
  t.equal(whatIsWrong(1, plan, output({})), undefined);
  t.match(whatIsWrong(1, plan, output({ n: 1 })), /answered/);
  t.match(whatIsWrong(1, plan, output({ mixed: 'two runs' })), /two runs/);
  t.match(whatIsWrong(1, plan, output({}, bytes.subarray(1))), /63 bytes of 64/);
  const flipped = Uint8Array.from(bytes, (byte, i) => (i === 40 ? byte ^ 1 : byte));
  t.match(whatIsWrong(1, plan, output({}, flipped)), /difference at 40/);
  t.match(whatIsWrong(1, plan, { outputs: [] }), /0 outputs/);
  const other = rightResult(1, { ...plan, n: 1 });
  t.not(Buffer.compare(other.bytes, bytes), 0, 'every request has another result');
  t.equal(shardSum(bytes, 0, 3) + shardSum(bytes, 1, 3) + shardSum(bytes, 2, 3), shardSum(bytes, 0, 1));

  const of = (change: object) => ({ n: 1, request: 'r', run: 'a', index: 0, count: 2, ...change });
  const two = [of({}), of({ index: 1 })];
  t.equal(whatDoesNotFit('r', of({}), two), undefined);
  t.match(whatDoesNotFit('q', of({}), two), /of request r, the task of q/);
  t.match(whatDoesNotFit('r', of({ n: 2 }), two), /of 2 and 1/);
  t.match(whatDoesNotFit('r', of({ run: 'b' }), two), /two runs/);
  t.match(whatDoesNotFit('r', of({}), two.slice(1)), /shards are 1 of 2/);
  t.match(whatDoesNotFit('r', of({}), [two[0]!, of({ index: 1, count: 3 })]), /of 2, 3/);
});

void t.test('whoever is killed, stopped, scaled or flooded: every request has one right end', async (t) => {
  let told = 0;
  const summary = await runChaos({
    seed,
    requests: 3000,
    blows: 60,
    clients: 24,
    between: 40,
    onProgress: (ended, blows) => {
      if (blows < told + 10) return;
      told = blows;
      t.comment(`${ended} requests, ${blows} blows`);
    },
  });
  t.comment(JSON.stringify(summary));
  for (const end of ['ok', 'RDMA_ERR_STAGE_FAILED', 'RDMA_ERR_ABORTED', 'RDMA_ERR_DEADLINE']) {
    t.ok((summary.ends[end] ?? 0) > 0, `some ended with ${end}`);
  }
  t.ok(summary.restarts > 5, 'processes were replaced');
});

void t.test('a seed chooses every blow to a gateway, and what hangs in a job has an end', async (t) => {
  t.same(planGatewayBlow(7, 3, true), planGatewayBlow(7, 3, true));
  const blows = Array.from({ length: 300 }, (_, k) => planGatewayBlow(5, k, true));
  t.equal(new Set(blows.map(({ fault }) => fault)).size, 7);
  t.notOk(Array.from({ length: 300 }, (_, k) => planGatewayBlow(5, k, false)).some(({ fault }) => fault === 'store'));
  for (let n = 0; n < 1000; n++) {
    const { plan, options } = planJob(5, n);
    if (plan.act === 'hang' || plan.act === 'deaf') t.ok((options.deadlineMs ?? 0) > 0, `job ${n} has a deadline`);
    if (options.deadlineMs === undefined) t.notOk(jobEndsOf(plan).includes('RDMA_ERR_REJECTED'));
  }
  const plan = planRequest(1, 0);
  const failed = (message: string) => Object.assign(new Error(message), { code: 'RDMA_ERR_STAGE_FAILED' });
  t.equal(endOfError(plan, failed(`request 0 fails in ${plan.where}`)), 'RDMA_ERR_STAGE_FAILED');
  t.equal(endOfError(plan, failed('request 1 fails in nowhere')), 'request 1 fails in nowhere');
  t.equal(endOfError(plan, Object.assign(new Error(), { code: 'RDMA_ERR_CANCELLED' })), 'RDMA_ERR_CANCELLED');
});

void t.test(
  'a gateway that is killed, stopped and closed: every job it has accepted has one right outcome',
  async (t) => {
    const place = mkdtempSync(join(tmpdir(), 'onepiece-jobs-'));
    t.teardown(() => rmSync(place, { recursive: true, force: true }));
    const summary = await runGatewayChaos({
      seed,
      kind: 'lmdb',
      place,
      gateways: 1,
      blows: 8,
      clients: 12,
      onProgress: (told, blows) => t.comment(`${told} outcomes, ${blows} blows`),
    });
    t.comment(JSON.stringify(summary));
    t.ok(summary.accepted >= 20, `${summary.accepted} jobs were accepted`);
    t.ok((summary.ends.ok ?? 0) > 0);
    t.same({ lost: summary.lost, twice: summary.twice }, { lost: 0, twice: 0 });
  },
);
