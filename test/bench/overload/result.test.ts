// Proves: each figure is computed from the measurements as its name says, and one without measurements is null.
import t from 'tap';
import {
  batchResult,
  cancelResult,
  failureOf,
  hungResult,
  loadResult,
  overloadDocument,
  retryResult,
  tenantsResult,
} from '../../../src/ts/bench/overload/result.js';
import { overloadDefaults } from '../../../src/ts/bench/overload/settings.js';
import type { Tally } from '../../../src/ts/bench/overload/tally.js';
import { overloadText } from '../../../src/ts/cli/bench-overload-table.js';

const counted = (change: Partial<Tally> = {}): Tally => ({
  offered: 600,
  inTime: 190,
  refused: 400,
  late: 10,
  failed: 0,
  lateShare: 0.05,
  rejectMs: { p50: 0.5, p99: 2 },
  latencyMs: { p50: 500, p99: 900 },
  lagMs: 1,
  predictionError: 0.1,
  firstFailure: null,
  ...change,
});

const load = loadResult(null, 3, 200, 1, { tally: counted(), offeredPerSecond: 600 });
const retry = retryResult({ refused: 100, told: 80, admitted: 60, inTime: 40, retryAfterMs: { p50: 1, p99: 2 } });
const cancel = cancelResult({ rounds: 9, stuck: 0, limitMs: 3000, freeMs: { p50: 4, p99: 5 } });
const hung = hungResult({ instances: 4, beforePerSecond: 200, afterPerSecond: 150 });
const slower = counted({ offered: 40, inTime: 40, refused: 0, latencyMs: { p50: 120, p99: 300 } });
const batch = batchResult({ size: 8, singlePerSecond: 50, batchedPerSecond: 240 });
const tenants = tenantsResult(200, 1, {
  alone: counted({ latencyMs: { p50: 100, p99: 200 } }),
  beside: slower,
  flood: counted(),
});

void t.test('a load is given in capacities and shares', async (t) => {
  t.match(load, { test: 'overload', peer: null, factor: 3, goodput: 0.95, lateShare: 0.05, rejectP99Ms: 2 });
  t.equal(load.refusedShare, 0.6667);
  const without = loadResult('pqueue', 1, 200, 1, {
    tally: counted({ rejectMs: null, latencyMs: null }),
    offeredPerSecond: 1,
  });
  t.match(without, { peer: 'pqueue', rejectP50Ms: null, rejectP99Ms: null, latencyP99Ms: null });
});

void t.test('retries are counted for requests that got a time to retry, or not at all', async (t) => {
  t.match(retry, { toldShare: 0.8, firstRetryShare: 0.75, answeredShare: 0.5, retryAfterP99Ms: 2 });
  const nobody = retryResult({ refused: 9, told: 0, admitted: 0, inTime: 0, retryAfterMs: null });
  t.match(nobody, { toldShare: 0, firstRetryShare: null, answeredShare: null, retryAfterP50Ms: null });
});

void t.test('a cancel that left a place stuck has no time', async (t) => {
  t.match(cancel, { freeP99Ms: 5 });
  const stuck = cancelResult({ rounds: 9, stuck: 1, limitMs: 3000, freeMs: { p50: 4, p99: 5 } });
  t.match(stuck, { stuck: 1, freeP50Ms: null, freeP99Ms: null });
});

void t.test('what hangs and who floods are held against what there was before', async (t) => {
  t.match(batch, { size: 8, ratio: 4.8 });
  t.match(hung, { keptShare: 0.75, possibleShare: 0.75 });
  t.match(tenants, { aloneP99Ms: 200, besideP99Ms: 300, ratio: 1.5, steadyInTimeShare: 1, goodput: 1.15 });
  const silent = counted({ latencyMs: null });
  t.equal(tenantsResult(200, 1, { alone: slower, beside: silent, flood: silent }).ratio, null);
});

void t.test('requests that failed are said with the words of the first', async (t) => {
  t.equal(failureOf(null, 'overload', 3, [counted()]), undefined);
  const failed = counted({ failed: 2, firstFailure: 'no such stage' });
  t.match(failureOf('bullmq', 'overload', 3, [counted(), failed]), {
    peer: 'bullmq',
    reason: /2 requests .* no such stage/,
  });
});

void t.test('the document names its test, and the table shows every result', async (t) => {
  const results = [load, retry, cancel, hung, tenants, batch];
  const run = { settings: overloadDefaults, capacityPerSecond: 200, results, peers: {}, failures: [] };
  const document = overloadDocument(run);
  t.match(document, { schemaVersion: 1, test: 'overload', capacityPerSecond: 200 });
  const text = overloadText(document);
  for (const says of [
    /capacity 200\.0 requests/,
    /3x +onepiece +95\.0 % +5\.0 %/,
    /75 %/,
    /1\.50x/,
    /4\.80x/,
    /4\.00, 5\.00 ms/,
  ]) {
    t.match(text, says);
  }
  t.match(
    overloadText(
      overloadDocument({ ...run, results: [cancelResult({ rounds: 1, stuck: 1, limitMs: 7, freeMs: null })] }),
    ),
    /longer than 7 ms/,
  );
});
