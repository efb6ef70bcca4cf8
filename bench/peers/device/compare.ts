// Peers beside a device, in the same run: what they have of the same measurements.
//
// Invariant: whether a peer can run at all is known before anything is measured.
import { OpenMpi } from '../mpi/open-mpi.js';
import { PEER_BATCH, type PeerLatency, type PeerRate, type PeerRun } from '../peer.js';
import { peerList } from '../peer-list.js';
import { ucxLatency, ucxName, ucxRate } from '../ucx.js';
import type { DeviceTest } from '../../../src/ts/bench/device/tests.js';
import type { DeviceCompareOptions, DevicePeer } from '../../../src/ts/bench/device/peer.js';
import { type DeviceResult, resultOf } from '../../../src/ts/bench/device/result.js';
import { SMALL_BYTES } from '../../../src/ts/bench/device/side.js';

/** Bytes that a peer moves for one large size, one way. */
const COPY_BYTES = 2 ** 30;
const MAX_COPIES = 500;
const MIN_COPIES = 10;
/** ucx_perftest takes its percentiles from its last 2048 samples. */
const MAX_UCX_ITERATIONS = 200_000;

const copyRuns = (sizes: readonly number[]): PeerRun[] =>
  sizes.map((sizeBytes) => ({
    sizeBytes,
    iterations: Math.round(Math.min(Math.max(COPY_BYTES / sizeBytes, MIN_COPIES), MAX_COPIES)),
  }));

async function openMpi(options: DeviceCompareOptions): Promise<DeviceResult[]> {
  const { device, tests, iterations, copySizes, signal, onStep = () => {} } = options;
  const results: DeviceResult[] = [];
  const small = [{ sizeBytes: SMALL_BYTES, iterations }];
  const where = 'shared-memory' as const;
  onStep('Open MPI: compiling');
  const peer = await OpenMpi.compile(signal);
  try {
    const step = (test: DeviceTest) => {
      if (tests.includes(test)) onStep(`Open MPI: ${test}`);
      return tests.includes(test);
    };
    const add = (test: DeviceTest, rows: Parameters<typeof peerResult>[2][]) =>
      results.push(...rows.map((row) => peerResult(device, test, row)));
    if (step('write-seen')) {
      add('write-seen', await peer.latency('put', where, small, { signal }));
      add('write-seen', await peer.latency('send', where, small, { signal }));
    }
    if (step('write-batch')) {
      const batches = Math.ceil(iterations / 4);
      add('write-batch', await peer.rate('put', where, [{ sizeBytes: SMALL_BYTES, iterations: batches }], { signal }));
    }
    if (step('write-copy')) add('write-copy', await peer.latency('put', where, copyRuns(copySizes), { signal }));
    if (step('read')) add('read', await peer.latency('get', where, small, { signal }));
  } finally {
    await peer.close();
  }
  return results;
}

async function ucx(options: DeviceCompareOptions): Promise<DeviceResult[]> {
  const { device, tests, copySizes, signal, onStep = () => {} } = options;
  const iterations = Math.min(options.iterations, MAX_UCX_ITERATIONS);
  const results: DeviceResult[] = [];
  const small = [{ sizeBytes: SMALL_BYTES, iterations }];
  const step = (test: DeviceTest) => {
    if (tests.includes(test)) onStep(`UCX: ${test}`);
    return tests.includes(test);
  };
  const add = (test: DeviceTest, rows: Parameters<typeof peerResult>[2][]) =>
    results.push(...rows.map((row) => peerResult(device, test, row)));
  if (step('write-seen')) {
    add('write-seen', await ucxLatency('put', small, { signal }));
    add('write-seen', await ucxLatency('send', small, { signal }));
  }
  if (step('write-batch')) {
    const messages = Math.ceil(options.iterations / 4) * PEER_BATCH;
    const run = { sizeBytes: SMALL_BYTES, iterations: Math.min(messages, 10_000_000) };
    add('write-batch', await ucxRate('put', [run], { signal }));
  }
  if (step('write-copy')) add('write-copy', await ucxLatency('put', copyRuns(copySizes), { signal }));
  if (step('read')) add('read', await ucxLatency('get', small, { signal }));
  return results;
}

/** A row of somebody else. */
function peerResult(device: string, test: DeviceTest, peer: PeerLatency | PeerRate): DeviceResult {
  const { sizeBytes } = peer;
  const name = `${peer.peer} ${peer.operation}`;
  if ('latencyUs' in peer) {
    const { latencyUs, iterations } = peer;
    return resultOf(device, test, { peer: name, sizeBytes, iterations, latencyUs });
  }
  const { messagesPerSecond, messages: iterations } = peer;
  return resultOf(device, test, { peer: name, sizeBytes, iterations, messagesPerSecond });
}

export const { names: devicePeerNames, named: devicePeersNamed } = peerList<DevicePeer>([
  { name: 'openmpi', check: () => OpenMpi.check(), measure: openMpi },
  { name: 'ucx', check: ucxName, measure: ucx },
]);
