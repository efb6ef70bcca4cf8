// What operators do with the apps of a cluster: deploy, scale, remove, drain.
//
// Invariant: each of them is one write against the revision that was read; two operators at once do not undo each
// other.
import { readFile } from 'node:fs/promises';
import { RdmaError } from '../core/errors.js';
import { checkBoolean, checkInteger, checkObject } from '../core/validate.js';
import type { ControlStore } from '../control/index.js';
import type { Workflow } from '../pipeline/index.js';
import { hashOf } from './app-host.js';
import { type App, APPS, asJson, checkName, DRAINS, readApp } from './cluster-records.js';

const MAX_TRIES = 10;

/**
 * Deploys a workflow: from now on the cluster runs it.
 *
 * @param workflow exported by its module, which is a file with the same content on every node, at the same path
 * @returns what was deployed
 * @throws RdmaError RDMA_ERR_NOT_FOUND when its module cannot be read here; RDMA_ERR_CONFLICT when other code is
 *   deployed under its name; those of ControlStore.put
 */
export async function deploy(store: ControlStore, workflow: Workflow): Promise<App> {
  const { name, module, spec, sizes } = workflow;
  checkName('the name of the workflow', name);
  const bytes = await readFile(module).catch((cause) => {
    throw new RdmaError('RDMA_ERR_NOT_FOUND', `${module} cannot be read`, { cause });
  });
  const wanted = Object.fromEntries(spec.stages.map((stage) => [stage.name, stage.instances]));
  const app: App = { name, module, hash: hashOf(bytes), spec, sizes, wanted };
  const entry = await store.get(APPS + name);
  if (entry !== undefined) {
    const before = readApp(entry);
    if (before.hash !== app.hash || before.module !== app.module) {
      throw new RdmaError('RDMA_ERR_CONFLICT', `other code is deployed as ${name}: ${before.module}`, {
        remedy: `remove it first, or give the new workflow a name of its own, such as ${name}-2`,
      });
    }
    return before;
  }
  await store.put(APPS + name, asJson(app), { expected: 0 });
  return app;
}

/** How {@link scaleApp} treats a stage that is scaled by its load. */
export interface ScaleAppOptions {
  /** The count holds from now on, whatever the load is; default false: such a stage is refused. */
  readonly fixed?: boolean;
}

/**
 * Changes how many instances a stage shall have.
 *
 * @param instances 1 to 64; `auto` gives a stage that was fixed back to its load
 * @throws RdmaError RDMA_ERR_NOT_FOUND when there is no such app or stage; RDMA_ERR_CONFLICT when its load scales it,
 *   and `fixed` is not given, or it is to be `auto` and nothing says how; RDMA_ERR_INVALID_ARGUMENT
 */
export async function scaleApp(
  store: ControlStore,
  name: string,
  stage: string,
  instances: number | 'auto',
  options: ScaleAppOptions = {},
): Promise<void> {
  if (instances !== 'auto') checkInteger('instances', instances, 1, 64);
  const { fixed = false } = checkObject<ScaleAppOptions>('options', options);
  checkBoolean('fixed', fixed);
  for (let tries = 1; ; tries++) {
    const entry = await store.get(APPS + checkName('app', name));
    if (entry === undefined) throw new RdmaError('RDMA_ERR_NOT_FOUND', `no app ${name} is deployed`);
    const app = readApp(entry);
    if (app.wanted[stage] === undefined) {
      const stages = app.spec.stages.map((each) => each.name).join(', ');
      throw new RdmaError('RDMA_ERR_NOT_FOUND', `${name} has no stage ${stage}: it has ${stages}`);
    }
    const next = scaled(app, stage, instances, fixed);
    try {
      await store.put(APPS + name, asJson(next), { expected: entry.revision });
      return;
    } catch (error) {
      if ((error as RdmaError).code !== 'RDMA_ERR_CONFLICT' || tries === MAX_TRIES) throw error;
    }
  }
}

function scaled(app: App, stage: string, instances: number | 'auto', isFixed: boolean): App {
  const { scale } = app.spec.stages.find((each) => each.name === stage)!;
  const others = (app.fixed ?? []).filter((each) => each !== stage);
  if (instances === 'auto') {
    if (scale !== undefined) return { ...app, fixed: others };
    throw new RdmaError('RDMA_ERR_CONFLICT', `nothing says how ${app.name}/${stage} is scaled by its load`, {
      remedy: 'give the stage the option scale, and deploy it',
    });
  }
  const wanted = { ...app.wanted, [stage]: instances };
  if (scale === undefined) return { ...app, wanted };
  if (!isFixed && app.fixed?.includes(stage) !== true) {
    const words = `${app.name}/${stage} is scaled by its load, ${scale.min} to ${scale.max} instances`;
    throw new RdmaError('RDMA_ERR_CONFLICT', words, { remedy: 'give --fixed to hold a count, and `auto` to end that' });
  }
  return { ...app, wanted, fixed: [...others, stage] };
}

/** Removes an app: its processes end, and its requests fail. @throws RdmaError RDMA_ERR_NOT_FOUND */
export async function undeploy(store: ControlStore, name: string): Promise<void> {
  const entry = await store.get(APPS + checkName('app', name));
  if (entry === undefined) throw new RdmaError('RDMA_ERR_NOT_FOUND', `no app ${name} is deployed`);
  await store.delete(APPS + name, entry.revision);
}

/**
 * Empties a node, or lets it have places again. Places are replaced elsewhere first; what runs there ends its work.
 *
 * @throws those of ControlStore.put
 */
export async function drainNode(store: ControlStore, node: string, isDraining = true): Promise<void> {
  const key = DRAINS + checkName('node', node);
  if (isDraining) await store.put(key, true);
  else await store.delete(key);
}
