// `onepiece bench cluster`: what a cluster of processes on this machine does when parts of it go away, and how fast it
// is beside BullMQ.
//
// Invariant: what is missing is said before anything is started. A part that fails is a failure, and ends the run of
// that cluster: what follows would be measured on a broken one.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { machine } from '../machine.js';
import { BullMqFlow } from '../peers/bullmq-flow.js';
import { bullmq } from '../peers/bullmq.js';
import { findProgram } from '../peers/installed.js';
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

/** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when a program or a package is missing */
export async function clusterBench(
  settings: ClusterBenchSettings,
  onStep: (words: string) => void,
  signal: AbortSignal,
): Promise<ClusterBench> {
  findProgram('nats-server', NATS_REMEDY);
  const needsPeer = settings.compareBullMq && settings.only.some((part) => part === 'speed' || part === 'worker');
  const peers = needsPeer ? [bullmq.check()] : [];
  const folder = mkdtempSync(join(tmpdir(), 'onepiece-bench-'));
  const rows = new ClusterRows();
  const failures: { what: string; reason: string }[] = [];
  let cluster: BenchCluster | undefined;
  let peer: BullMqFlow | undefined;
  let part = 'start';
  try {
    onStep('start');
    cluster = await BenchCluster.start(settings, folder, signal);
    if (needsPeer) peer = await BullMqFlow.open(folder);
    const context = { cluster, settings, rows, signal, onStep };
    for (part of settings.only) await measure(part as ClusterPart, context, peer);
  } catch (error) {
    signal.throwIfAborted();
    failures.push({ what: part, reason: String(error) });
  } finally {
    await peer?.close();
    await cluster?.close();
    rmSync(folder, { recursive: true, force: true });
  }
  return { schemaVersion: 1, test: 'cluster', machine: machine(), settings, peers, rows: rows.rows, failures };
}

async function measure(part: ClusterPart, context: FaultContext, peer: BullMqFlow | undefined): Promise<void> {
  const { cluster, settings, rows, signal, onStep } = context;
  if (part === 'kill' || part === 'stop') {
    const known = rows.rows.find(({ test }) => test === 'cluster-worker-start')?.value;
    await measureNode(context, part, known ?? (await measureStart(context)));
  } else if (part === 'leader') await measureLeader(context);
  else if (part === 'drain') await measureDrain(context);
  else if (part === 'away') await measureAway(context);
  else if (part === 'update') await measureUpdate(context);
  else if (part === 'step') await measureStep(context);
  else if (part === 'worker') {
    await measureWorkerKill(context);
    if (peer === undefined) return;
    onStep('kill a worker of BullMQ at work');
    const ms = await costOfKill(peer.call, peer.runsFile, signal);
    const what = 'the same, with BullMQ as it is by default';
    rows.median({ test: 'cluster-worker-kill', peer: peer.peer, what }, [ms]);
  } else {
    const subjects = peer === undefined ? [cluster.subject] : [cluster.subject, peer];
    await measureSpeed({ subjects, seconds: settings.seconds, rows, signal, onStep });
  }
}
