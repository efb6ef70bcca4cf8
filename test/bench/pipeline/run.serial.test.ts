// Proves: a peer that is missing, fails, or cannot carry a size is said, and replaced by nothing; the others go on.
import t from 'tap';
import type { PipelinePeer } from '../../../src/ts/bench/pipeline/peer.js';
import { benchPipelines } from '../../../src/ts/bench/pipeline/run.js';
import { type PipelineSettings, pipelineDefaults } from '../../../src/ts/bench/pipeline/settings.js';
import { RdmaError } from '../../../src/ts/core/errors.js';

const REMEDY = 'apt-get install pigeon';

function peer(name: string, change: Partial<PipelinePeer> = {}, fails = false): PipelinePeer {
  return {
    name,
    medium: 'air',
    maxBytes: 2 ** 26,
    streams: false,
    check: () => `${name} 1.0`,
    open: async () => ({
      measure: async () => {
        if (fails) throw new RdmaError('RDMA_ERR_PROTOCOL', 'it flew away');
        return { samplesUs: Float64Array.of(1), requests: 1, seconds: 1, cpuUs: 1, rssKib: 1, pssKib: 1 };
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

async function run(peers: PipelinePeer[], skipMissing: boolean, change: Partial<PipelineSettings> = {}) {
  const steps: string[] = [];
  const notes: string[] = [];
  const small = { sizes: [64], inFlight: [1], modes: ['returned'], seconds: 1 } as const;
  const outcome = benchPipelines({
    settings: { ...pipelineDefaults, ...small, ...change },
    peers,
    skipMissing,
    onStep: (words) => steps.push(words),
    onNote: (words) => notes.push(words),
    signal: new AbortController().signal,
  });
  return { steps, notes, outcome: await outcome.catch((error) => error) };
}

void t.test('a peer that was named and is missing ends it before anything is measured, with the remedy', async (t) => {
  const { steps, outcome } = await run([peer('dove'), lacks], false);
  t.match(outcome, { code: 'RDMA_ERR_INVALID_ARGUMENT', remedy: REMEDY });
  t.strictSame(steps, []);
});

void t.test('a device that is not there ends it before anything is measured', async (t) => {
  const { steps, outcome } = await run([peer('dove')], false, { device: 'nic9' });
  t.match(outcome, { code: 'RDMA_ERR_NO_DEVICE' });
  t.strictSame(steps, []);
});

void t.test('what is missing of all, fails or cannot carry a size is said, and the others go on', async (t) => {
  const peers = [peer('hawk', {}, true), lacks, peer('wren', { maxBytes: 100 }), peer('dove')];
  const { notes, outcome } = await run(peers, true, { sizes: [64, 128] });
  t.strictSame(Object.keys(outcome.peers), ['hawk', 'wren', 'dove']);
  t.match(outcome.failures, [
    { peer: 'hawk', test: 'pipeline', shape: 'chain', sizeBytes: 64, inFlight: 1, reason: /it flew away/ },
    { peer: 'hawk', sizeBytes: 128 },
  ]);
  t.strictSame(
    outcome.results.map((r: { peer: string | null; sizeBytes: number }) => `${r.peer} ${r.sizeBytes}`),
    ['null 64', 'wren 64', 'dove 64', 'null 128', 'dove 128'],
  );
  t.match(notes[0], /^without lost: .*pigeon is not installed.*apt-get install pigeon/);
  t.match(notes[1], /hawk has failed in pipeline chain with 1 x 64 bytes/);
  t.match(notes[2], /hawk/);
  t.equal(notes[3], 'without wren above 100 bytes');
});
