// Proves: a peer that is missing, fails, or cannot carry a size is named, and nothing replaces it; the others go on.
import t from 'tap';
import type { RingPeer } from '../../../src/ts/bench/ring/peer.js';
import { emptyResult } from '../../../src/ts/bench/ring/result.js';
import { type RingSettings, ringDefaults } from '../../../src/ts/bench/ring/settings.js';
import { benchRings } from '../../../src/ts/bench/ring/run.js';
import { RdmaError } from '../../../src/ts/core/errors.js';

const REMEDY = 'apt-get install pigeon';

function peer(name: string, change: Partial<RingPeer>, fails = false): RingPeer {
  return {
    name,
    maxBytes: 2 ** 30,
    check: () => `${name} 1.0`,
    open: async () => ({
      measure: async ({ test }, sizeBytes) => {
        if (fails) throw new RdmaError('RDMA_ERR_PROTOCOL', 'it flew away');
        return test === 'ring-rate'
          ? undefined
          : emptyResult(test, { device: 'air', peer: name, way: null }, sizeBytes);
      },
      close: async () => {},
    }),
    ...change,
  };
}

const lacks = peer('lost', {
  check: () => {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'pigeon is not installed', { remedy: REMEDY });
  },
});

async function run(peers: RingPeer[], skipMissing: boolean, change: Partial<RingSettings> = {}) {
  const steps: string[] = [];
  const notes: string[] = [];
  const outcome = benchRings({
    plan: [{ ...ringDefaults('ring-lat'), iterations: 5, ...change }],
    peers,
    skipMissing,
    onStep: (words) => steps.push(words),
    onNote: (words) => notes.push(words),
    signal: new AbortController().signal,
  });
  return { steps, notes, outcome: await outcome.catch((error) => error) };
}

void t.test('a peer that was named and is missing ends it before anything is measured, with the remedy', async (t) => {
  const { steps, outcome } = await run([peer('dove', {}), lacks], false);
  t.match(outcome, { code: 'RDMA_ERR_INVALID_ARGUMENT', remedy: REMEDY });
  t.strictSame(steps, []);
});

void t.test('of all peers, one that is missing is left out with a sentence', async (t) => {
  const { notes, outcome } = await run([peer('dove', {}), lacks], true);
  t.strictSame(outcome.peers, { dove: 'dove 1.0' });
  t.strictSame(
    outcome.results.map((result: { peer: string }) => result.peer),
    [null, 'dove'],
  );
  t.match(notes, [/^without lost: .*pigeon is not installed.*apt-get install pigeon/]);
});

void t.test('a peer that fails is among the failures, and the others go on', async (t) => {
  const { notes, outcome } = await run([peer('hawk', {}, true), peer('dove', {})], false, { sizes: [64, 128] });
  t.match(outcome.failures, [
    { peer: 'hawk', test: 'ring-lat', sizeBytes: 64, reason: /it flew away/ },
    { peer: 'hawk', test: 'ring-lat', sizeBytes: 128 },
  ]);
  t.equal(outcome.results.filter((result: { peer: string }) => result.peer === 'dove').length, 2);
  t.match(notes[0], /hawk has failed in ring-lat with 64 bytes/);
});

void t.test('a size that a peer cannot carry, and a test that it lacks, are named once', async (t) => {
  const large = await run([peer('wren', { maxBytes: 100 })], false, { sizes: [64, 128, 256] });
  t.equal(large.outcome.results.filter((result: { peer: string }) => result.peer === 'wren').length, 1);
  t.strictSame(large.notes, ['without wren above 100 bytes']);
  const rate = await run([peer('wren', {})], false, { test: 'ring-rate', iterations: 100 });
  t.strictSame(rate.notes, ['without wren in ring-rate: it has no such test here']);
});
