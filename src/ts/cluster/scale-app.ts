// The operation that sets how many instances a stage has.
//
// Invariant: one write against the revision that was read. A count holds in all versions of the app. For a stage that
// is scaled by load it fixes the count, and is refused unless the operator asks for that.
import { RdmaError } from '../core/errors.js';
import { checkBoolean, checkInteger, checkObject } from '../core/validate.js';
import type { ControlStore } from '../control/index.js';
import type { StageSpec } from '../pipeline/index.js';
import { asJson, checkName } from './cluster-records.js';
import { patiently, releaseOf, versionsOf } from './deploy.js';
import { readRelease, type Release } from './release-records.js';

/** How {@link scaleApp} treats a stage that is scaled by its load. */
export interface ScaleAppOptions {
  /** The count holds from now on, whatever the load is; default false: such a stage is refused. */
  readonly fixed?: boolean;
}

/**
 * Changes how many instances a stage shall have, in all versions.
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
  checkName('app', name);
  await patiently(async () => {
    const entry = await releaseOf(store, name);
    const last = readRelease(entry);
    const { codes } = await versionsOf(store, name);
    const stages = [last.code, ...Object.values(codes)].flatMap(({ spec }) => spec.stages);
    const found = stages.find((each) => each.name === stage);
    if (found === undefined) {
      const known = last.code.spec.stages.map((each) => each.name).join(', ');
      throw new RdmaError('RDMA_ERR_NOT_FOUND', `${name} has no stage ${stage}: it has ${known}`);
    }
    const counts = countsWith(last, `${name}/${stage}`, found, instances, fixed);
    await store.put(entry.key, asJson({ ...last, counts }), { expected: entry.revision });
  });
}

function countsWith(
  { counts }: Release,
  what: string,
  { name, scale }: StageSpec,
  instances: number | 'auto',
  isFixed: boolean,
): Release['counts'] {
  const { [name]: before, ...others } = counts;
  if (instances === 'auto') {
    if (scale !== undefined) return others;
    throw new RdmaError('RDMA_ERR_CONFLICT', `nothing says how ${what} is scaled by its load`, {
      remedy: 'give the stage the option scale, and deploy it',
    });
  }
  if (scale !== undefined && !isFixed && before === undefined) {
    const text = `${what} is scaled by its load, ${scale.min} to ${scale.max} instances`;
    throw new RdmaError('RDMA_ERR_CONFLICT', text, { remedy: 'give --fixed to hold a count, and `auto` to end that' });
  }
  return { ...others, [name]: instances };
}
