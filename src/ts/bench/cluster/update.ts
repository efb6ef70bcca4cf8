// What an app loses while a new version takes over under load, and while one that does not work is taken back.
//
// Invariant: a request that was answered by stages of two versions has failed. The app is gone afterwards.
import { setTimeout as sleep } from 'node:timers/promises';
import { deploy, undeploy, whenReleased } from '../../cluster/index.js';
import { RdmaError } from '../../core/errors.js';
import { until } from './cluster.js';
import type { FaultContext } from './faults.js';
import { checkAnswer, ClusterLoad, type ClusterSubject, type LoadFigures } from './load.js';
import { updatedModule, UPDATED } from './scratch-modules.js';

const LONG_MS = 120_000;
/** Answers that the version must give before and after something is done. */
const ANSWERS = 20;

/** Deploys a version that works, and one that does not, under load. */
export async function measureUpdate(context: FaultContext): Promise<void> {
  const { cluster, settings, rows, signal, onStep } = context;
  const { control, folder } = cluster;
  const answers = new Map<string, number>(); // by version
  const answersOf = (version: string) => answers.get(version) ?? 0;
  await deploy(control, updatedModule(folder, 'v1', true), { version: 'v1' });
  const pipeline = await cluster.connect(UPDATED);
  let load: ClusterLoad | undefined;
  try {
    const subject: ClusterSubject = {
      peer: null,
      call: async (n, ms) => {
        const { outputs } = await pipeline.run({ meta: { n, ms } });
        const { n: found, first, last } = outputs[0]!.meta;
        checkAnswer(n, found);
        if (first !== last) throw new RdmaError('RDMA_ERR_PROTOCOL', `request ${n} was of ${first} and of ${last}`);
        answers.set(String(last), answersOf(String(last)) + 1);
      },
    };
    load = new ClusterLoad(subject, settings.clients, settings.stageMs);
    const more = async (version: string) => {
      const target = answersOf(version) + ANSWERS;
      await until(`answers of ${version}`, () => answersOf(version) >= target, LONG_MS, signal);
    };
    const release = async (version: string, works: boolean): Promise<number> => {
      onStep(`update to ${version}${works ? '' : ', which does not work'}`);
      const beganMs = performance.now();
      const deployed = await deploy(control, updatedModule(folder, version, works), { version });
      const { type, reason } = await whenReleased(control, deployed);
      if (type !== (works ? 'current' : 'rolled-back'))
        throw new RdmaError('RDMA_ERR_PROTOCOL', `${version} became ${type}: ${reason}`);
      return performance.now() - beganMs;
    };
    await more('v1');
    await sleep(settings.seconds * 1000, undefined, { signal });
    load.take();
    const tookMs = await release('v2', true);
    await more('v2');
    const updated = load.take();
    const backMs = await release('v3', false);
    await more('v2');
    const takenBack = load.take();
    rows.median({ test: 'cluster-update', what: 'a new version takes over under load: it is current' }, [tookMs]);
    addFailed(rows, 'cluster-update-failed', updated);
    const what = 'a new version whose processes throw is taken back under load';
    rows.median({ test: 'cluster-update-back', what }, [backMs]);
    addFailed(rows, 'cluster-update-back-failed', takenBack);
  } finally {
    await load?.stop();
    await pipeline.close();
    await undeploy(control, UPDATED);
  }
}

function addFailed(rows: FaultContext['rows'], test: string, { failed, answered, reason }: LoadFigures): void {
  const what = `meanwhile: failed requests, of ${answered + failed}${reason === null ? '' : `; ${reason}`}`;
  rows.add({ test, what, value: failed, unit: 'requests' });
}
