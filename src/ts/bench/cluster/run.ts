// `onepiece bench cluster`: what a cluster of processes on this machine does when parts of it go away, and how fast it
// is beside a peer.
//
// Invariant: a missing program is reported before anything is started. A part that fails is a failure, and ends the run
// of that cluster: the rest would be measured on a broken one.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { machine } from '../kit/machine.js';
import type { ClusterPeer, OpenClusterPeer } from './peer.js';
import { findProgram } from '../kit/find-program.js';
import { BenchCluster, NATS_REMEDY } from './cluster.js';
import {
  costOfKill,
  type FaultContext,
  measureAway,
  measureDrain,
  measureLeader,
  measureNode,
  measureStart,
  measureWorkerKill,
} from './faults.js';
import { type ClusterBench, ClusterRows } from './result.js';
import type { ClusterBenchSettings, ClusterPart } from './settings.js';
import { measureSpeed } from './speed.js';
import { measureStep } from './step.js';
import { measureUpdate } from './update.js';

/**
 * Measures.
 *
 * @param beside what does the same work otherwise; undefined: nothing
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when a program or a package is missing
 */
export async function clusterBench(
  settings: ClusterBenchSettings,
  beside: ClusterPeer | undefined,
  onStep: (words: string) => void,
  signal: AbortSignal,
): Promise<ClusterBench> {
  findProgram('nats-server', NATS_REMEDY);
  const needsPeer = settings.only.some((part) => part === 'speed' || part === 'worker');
  const compared = needsPeer ? beside : undefined;
  const peers = compared === undefined ? [] : [compared.check()];
  const folder = mkdtempSync(join(tmpdir(), 'onepiece-bench-'));
  const rows = new ClusterRows();
  const failures: { what: string; reason: string }[] = [];
  let cluster: BenchCluster | undefined;
  let peer: OpenClusterPeer | undefined;
  let part = 'start';
  try {
    onStep('start');
    cluster = await BenchCluster.start(settings, folder, signal);
    peer = await compared?.open(folder);
    const context = { cluster, settings, rows, signal, onStep };
    for (part of settings.only) await measure(part as ClusterPart, context, peer, compared?.title);
  } catch (error) {
    signal.throwIfAborted();
    failures.push({ what: part, reason: String(error) });
  } finally {
    await peer?.close();
    await cluster?.close();
    rmSync(folder, { recursive: true, force: true });
  }
  return { schemaVersion: 2, test: 'cluster', machine: machine(), settings, peers, rows: rows.rows, failures };
}

async function measure(
  part: ClusterPart,
  context: FaultContext,
  peer: OpenClusterPeer | undefined,
  title = '',
): Promise<void> {
  const { cluster, settings, rows, signal, onStep } = context;
  if (part === 'kill' || part === 'stop') {
    // What a move takes is the start of a process, most of all.
    if (!rows.rows.some(({ test }) => test === 'cluster-worker-start')) await measureStart(context);
    await measureNode(context, part);
  } else if (part === 'leader') await measureLeader(context);
  else if (part === 'drain') await measureDrain(context);
  else if (part === 'away') await measureAway(context);
  else if (part === 'update') await measureUpdate(context);
  else if (part === 'step') await measureStep(context);
  else if (part === 'worker') {
    await measureWorkerKill(context);
    if (peer === undefined) return;
    onStep(`kill a worker of ${title} at work`);
    const ms = await costOfKill(peer.call, peer.runsFile, signal);
    const what = `the same, with ${title} as it is by default`;
    rows.median({ test: 'cluster-worker-kill', peer: peer.peer, what }, [ms]);
  } else {
    const subjects = peer === undefined ? [cluster.subject] : [cluster.subject, peer];
    await measureSpeed({ subjects, seconds: settings.seconds, rows, signal, onStep });
  }
}
