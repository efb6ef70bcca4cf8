// Measures a load step on a stage that takes long to start, with real processes: `node scaling-main.js [LOAD_MS]`.
//
// Invariant: requests come when they come, whatever becomes of those before them. Prints one JSON document.
import { setTimeout as sleep } from 'node:timers/promises';
import { ClusterPipeline, Controller, deploy, listClusterEvents, NodeManager } from '../../src/ts/cluster/index.js';
import { memoryControlStore } from '../../src/ts/control/index.js';
import type { StageLoad } from '../../src/ts/planner/index.js';

const loadMs = Number(process.argv[2] ?? 4000);
const TASK_MS = loadMs / 20;
const SLO_MS = (loadMs * 3) / 20;
const RATE = (1000 / loadMs) * 12; // requests a second before the step
const WINDOW_MS = loadMs / 8;

process.env.SCALING_LOAD_MS = String(loadMs);
process.env.SCALING_SLO_MS = String(SLO_MS);
process.env.SCALING_MAX = '16';

interface Done {
  readonly cameMs: number;
  readonly ms: number;
  readonly failed: boolean;
}

async function main(): Promise<void> {
  const { elastic } = await import('./scaling-workflow.js');
  const store = memoryControlStore();
  const own = { secret: 'a secret of the measurement' };
  const has = { host: 'a', cores: 64, memoryBytes: 2 ** 36 };
  const controller = new Controller(store, { name: 'c', storeForgets: false });
  const node = await NodeManager.start(store, { name: 'a', has, ...own });
  await deploy(store, elastic);
  const pipeline = await ClusterPipeline.connect(store, { app: elastic.name, ...own });
  const done: Done[] = [];
  const requests: Promise<void>[] = [];
  const request = () => {
    const cameMs = performance.now();
    const settle = (failed: boolean) => void done.push({ cameMs, ms: performance.now() - cameMs, failed });
    requests.push(
      pipeline.run({ meta: { n: 0, ms: TASK_MS } }).then(
        () => settle(false),
        () => settle(true),
      ),
    );
  };
  const play = async (ms: number, rate: number) => {
    const endMs = performance.now() + ms;
    for (let nextMs = performance.now(); nextMs < endMs; nextMs += (-Math.log(1 - Math.random()) * 1000) / rate) {
      await sleep(Math.max(0, nextMs - performance.now()));
      request();
    }
  };
  await play(12 * loadMs, RATE);
  const before = pipeline.status().plan.instances[0]!.length;
  const stepMs = performance.now();
  await play(6 * loadMs, 5 * RATE);
  const after = pipeline.status().plan.instances[0]!.length;
  await Promise.all(requests);
  let heldMs = 0;
  for (let fromMs = 0; fromMs < 6 * loadMs; fromMs += WINDOW_MS) {
    const part = done.filter(({ cameMs }) => cameMs >= stepMs + fromMs && cameMs < stepMs + fromMs + WINDOW_MS);
    if (part.filter(({ ms }) => ms > SLO_MS).length > 0.05 * part.length) heldMs = fromMs + WINDOW_MS;
  }
  const events = (await listClusterEvents(store)).filter(({ type }) => type === 'scale');
  const loads = events.map(({ inputs, words }) => ({ words, loadMs: (Object(inputs).load as StageLoad).loadMs }));
  const failed = done.filter((each) => each.failed).length;
  const document = {
    ...{ schemaVersion: 1, test: 'scaling-step', loadMs, taskMs: TASK_MS, sloMs: SLO_MS, requestsPerSecond: RATE },
    ...{ before, after, requests: done.length, failed, heldMs, relative: heldMs / loadMs, actions: loads },
  };
  process.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
  await pipeline.close();
  await node.close();
  await controller.close();
  await store.close();
}

void main();
