// The figures of a profile on one kind of GPU, as numbers that a simulation can use.
//
// Invariant: every number is a figure of the profile or a sum of them. A profile that lacks seconds, memoryGB or
// loadSeconds is an error that names the stage and the figure. For any other figure another one of the same profile is
// taken, and assumptionsOf() says which, so that a report can print it.
import { RdmaError } from '../../core/errors.js';
import type { Figure, Profile, StageProfile } from './profile.js';

/** A kind of GPU that the user has. */
export interface GpuKind {
  readonly kind: string;
  readonly memoryGB: number;
  /** Per hour, in the user's currency; undefined: unknown. */
  readonly price?: number | undefined;
}

/** The costs of a stage on that kind. */
export interface StageCosts {
  readonly name: string;
  readonly shared: boolean;
  readonly units: StageProfile['units'];
  /** Of one unit, alone. */
  readonly seconds: number;
  /** GPUs of one instance. */
  readonly gpus: number;
  /** Whole batches as [units, seconds], ascending; the first is [1, seconds]. */
  readonly batches: readonly (readonly [size: number, seconds: number])[];
  readonly memoryGB: number;
  readonly weightsGB: number;
  readonly loadSeconds: number;
  /** The start of the process is part of `loadSeconds`. */
  readonly loadsFromStart: boolean;
  /** To another adapter of the same base. */
  readonly switchSeconds: number;
  readonly outputBytes: number;
}

/** The costs of a model on that kind. */
export interface ModelCosts {
  readonly profile: string;
  readonly gpu: GpuKind;
  readonly stages: readonly StageCosts[];
  /** Of one instance that holds all stages. */
  readonly wholeMemoryGB: number;
  readonly wholeLoadSeconds: number;
  readonly wholeLoadsFromStart: boolean;
  /** GPUs of such an instance: those of its widest stage. */
  readonly wholeGpus: number;
}

/** How a stage is run. */
export interface CostChoices {
  /** GPUs that work on one task together, by stage; default the fewest that the profile has figures of. */
  readonly gpus?: Readonly<Record<string, number>> | undefined;
}

/**
 * The costs of a profile on a kind of GPU.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the missing figure, or the stage that fits no such GPU
 */
export function costsOf(profile: Profile, gpu: GpuKind, choices: CostChoices = {}): ModelCosts {
  const stages = profile.stages.map((stage) => stageCosts(profile, stage, gpu, choices.gpus?.[stage.name]));
  const memory = profile.whole.memoryGB?.value;
  const whole = profile.whole.loadSeconds;
  const wholeMemoryGB = memory ?? stages.reduce((sum, stage) => sum + stage.memoryGB, 0);
  return {
    profile: profile.id,
    gpu,
    stages,
    wholeMemoryGB,
    wholeLoadSeconds: whole?.value ?? stages.reduce((sum, stage) => sum + stage.loadSeconds, 0),
    wholeLoadsFromStart: whole === undefined ? stages.every((each) => each.loadsFromStart) : whole.fromStart === true,
    wholeGpus: stages.reduce((most, stage) => Math.max(most, stage.gpus), 1),
  };
}

/** The numbers of GPUs a task of a stage for which the profile has figures, ascending. */
export function gpuCountsOf(profile: Profile, stage: string, kind: string): number[] {
  const found = profile.stages.find(({ name }) => name === stage)?.seconds ?? [];
  const counts = found.filter(({ gpu, batch }) => gpu === kind && batch === 1).map(({ gpus }) => gpus);
  return [...new Set(counts)].sort((a, b) => a - b);
}

function stageCosts(profile: Profile, stage: StageProfile, gpu: GpuKind, wanted?: number): StageCosts {
  const { id } = profile;
  const counts = gpuCountsOf(profile, stage.name, gpu.kind);
  if (counts.length === 0) {
    const known = [...new Set(stage.seconds.map((figure) => figure.gpu))].join(', ');
    throw lacks(id, `seconds of stage ${stage.name} on GPU ${gpu.kind}`, `it has them on ${known}`);
  }
  const gpus = wanted ?? counts[0]!;
  if (!counts.includes(gpus)) {
    throw lacks(id, `seconds of stage ${stage.name} on ${gpus} GPUs together`, `it has them on ${counts.join(', ')}`);
  }
  const batches = stage.seconds
    .filter((figure) => figure.gpu === gpu.kind && figure.gpus === gpus)
    .map(({ batch, value }) => [batch, value] as const)
    .sort((a, b) => a[0] - b[0]);
  const memoryGB = needed(id, stage, 'memoryGB');
  if (memoryGB > gpu.memoryGB) {
    const needs = `stage ${stage.name} of profile ${id} needs ${memoryGB} GB of GPU memory`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${needs}; a ${gpu.kind} has ${gpu.memoryGB}`, {
      remedy: 'give a kind of GPU with more memory',
    });
  }
  return {
    name: stage.name,
    shared: stage.shared,
    units: stage.units,
    seconds: batches[0]![1],
    gpus,
    batches,
    memoryGB,
    weightsGB: stage.weightsGB?.value ?? memoryGB,
    loadSeconds: needed(id, stage, 'loadSeconds'),
    loadsFromStart: stage.loadSeconds?.fromStart === true,
    switchSeconds: stage.switchSeconds?.value ?? needed(id, stage, 'loadSeconds'),
    outputBytes: stage.outputBytes?.value ?? 0,
  };
}

function needed(id: string, stage: StageProfile, key: 'memoryGB' | 'loadSeconds'): number {
  const figure: Figure | undefined = stage[key];
  if (figure === undefined) throw lacks(id, `${key} of stage ${stage.name}`, `add it to the profile, with its source`);
  return figure.value;
}

function lacks(id: string, what: string, remedy: string): RdmaError {
  return new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `profile ${id} lacks ${what}`, { remedy });
}

/** The assumptions that stand in for missing figures of a profile, one line each, for reports. */
export function assumptionsOf({ stages, whole }: Profile): string[] {
  const list = stages.flatMap((stage, i) => {
    const { name, shared, seconds, weightsGB, switchSeconds, outputBytes } = stage;
    const lines: string[] = [];
    if (weightsGB === undefined) lines.push(`${name}: no weightsGB, so all of memoryGB counts as weights`);
    if (switchSeconds === undefined && !shared) {
      lines.push(`${name}: no switchSeconds, so another adapter takes as long as a whole load (loadSeconds)`);
    }
    if (outputBytes === undefined && i < stages.length - 1) {
      lines.push(`${name}: no outputBytes, so its output takes no time on the way`);
    }
    if (seconds.every(({ batch }) => batch === 1))
      lines.push(`${name}: no figures of batches, so each task runs alone`);
    return lines;
  });
  if (stages.length === 1) return list;
  for (const key of ['memoryGB', 'loadSeconds'] as const) {
    if (whole[key] === undefined) list.push(`whole: no ${key}, so that of the stages is added up`);
  }
  return list;
}

/** Seconds that a request takes alone on warm instances. */
export function bareSeconds({ stages }: ModelCosts, units: number, outputUnits: number): number {
  let sum = 0;
  for (const stage of stages) sum += taskSeconds(stage, units, outputUnits);
  return sum;
}

/** Seconds that the task of a request takes at a stage, alone on a warm instance. */
export function taskSeconds(
  { seconds, units: kind }: Pick<StageCosts, 'seconds' | 'units'>,
  units: number,
  outputUnits: number,
): number {
  return seconds * (kind === 'input' ? units : kind === 'output' ? outputUnits : 1);
}

/** Seconds that all stages of a model take to switch to another adapter. */
export function adapterSeconds(stages: readonly StageCosts[]): number {
  return stages.reduce((sum, { shared, switchSeconds }) => sum + (shared ? 0 : switchSeconds), 0);
}
