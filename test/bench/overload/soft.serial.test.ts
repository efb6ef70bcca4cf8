// Proves: the whole benchmark runs on real processes, ours and both peers, leaves nothing behind, and a peer that is
// missing or fails is said.
import t from 'tap';
import { overloadPeers } from '../../../bench/peers/overload/peers.js';
import type { OverloadPeer } from '../../../src/ts/bench/overload/peer.js';
import { benchOverload } from '../../../src/ts/bench/overload/run.js';
import type { BatchResult, LoadResult, OverloadDocument } from '../../../src/ts/bench/overload/result.js';
import { type OverloadSettings, overloadDefaults } from '../../../src/ts/bench/overload/settings.js';
import { RdmaError } from '../../../src/ts/core/errors.js';
import { treeOf } from '../../../src/ts/bench/kit/processes.js';

const REMEDY = 'apt-get install pigeon';
const lacks: OverloadPeer = {
  name: 'lost',
  check: () => {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'pigeon is not installed', { remedy: REMEDY });
  },
  load: () => Promise.reject(new Error('never')),
};

async function bench(change: Partial<OverloadSettings>, peers: readonly OverloadPeer[], skipMissing = false) {
  const notes: string[] = [];
  const steps: string[] = [];
  const outcome = await benchOverload({
    settings: { ...overloadDefaults, seconds: 1, deadlineMs: 500, ...change },
    peers,
    skipMissing,
    onStep: (words) => {
      steps.push(words);
      t.comment(words);
    },
    onNote: (words) => notes.push(words),
    signal: new AbortController().signal,
  }).catch((error: RdmaError) => error);
  if (outcome instanceof Error) t.comment(outcome.message);
  return { notes, steps, outcome };
}

void t.test('a missing peer is named before anything is measured', async (t) => {
  const { steps, outcome } = await bench({}, [lacks]);
  t.match(outcome, { code: 'RDMA_ERR_INVALID_ARGUMENT', remedy: REMEDY });
  const { outcome: device, steps: none } = await bench({ device: 'nic9' }, []);
  t.match(device, { code: 'RDMA_ERR_NO_DEVICE' });
  t.strictSame([...steps, ...none], []);
});

void t.test('each peer answers and refuses, as ours does', async (t) => {
  const settings = { tests: ['load'] as const, factors: [4], queued: 16 };
  const { outcome, notes } = await bench(settings, [...overloadPeers, lacks], true);
  const { results, peers, failures, capacityPerSecond } = outcome as OverloadDocument;
  t.ok(capacityPerSecond > 20, `${capacityPerSecond} requests/s`);
  t.match(notes[0], /^without lost: .*pigeon is not installed/);
  t.strictSame(Object.keys(peers), ['pqueue', 'pqueue-tuned', 'bullmq']);
  t.strictSame(failures, []);
  const loads = results as LoadResult[];
  t.strictSame(
    loads.map(({ peer }) => peer),
    [null, 'pqueue', 'pqueue-tuned', 'bullmq'],
  );
  for (const { peer, offered, goodput, refusedShare, lagP99Ms } of loads) {
    const who = peer ?? 'onepiece';
    t.ok(offered > capacityPerSecond, `${who}: ${offered} were offered`);
    // With 16 that wait, whoever is let in is answered in time, unless the machine is busy with others.
    t.ok(goodput > 0 && refusedShare > 0, `${who}: ${goodput} answered, ${refusedShare} refused, lag ${lagP99Ms} ms`);
  }
});

void t.test('retries, cancels, a hung instance, tenants and batches are measured', async (t) => {
  const { outcome } = await bench({ tests: ['retry', 'cancel', 'hung', 'tenants', 'batch'], factors: [1] }, []);
  const { results, failures } = outcome as OverloadDocument;
  t.strictSame(failures, []);
  t.strictSame(
    results.map(({ test }) => test),
    ['overload-retry', 'overload-cancel', 'overload-hung', 'overload-tenants', 'overload-batch'],
  );
  const [retry, cancel, hung, tenants, batch] = results;
  t.match(retry, { toldShare: 1 });
  t.match(cancel, { rounds: Number, stuck: 0, freeP99Ms: Number });
  t.match(hung, { instances: 2, possibleShare: 0.5, keptShare: Number });
  t.match(batch, { size: 8, ratio: Number });
  t.ok((batch as BatchResult).ratio! > 1, 'batches do more');
  t.match(tenants, { steadyInTimeShare: Number, aloneP99Ms: Number });
});

void t.test('nobody is left', async (t) => {
  t.strictSame(treeOf(process.pid), [process.pid]);
});
