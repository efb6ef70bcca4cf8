// A profile from what was measured.
//
// Invariant: every figure is one that was measured here, or says that it was not. The document passes checkProfile().
import type { WorkflowSpec } from '../../pipeline/index.js';
import { checkProfile, type Figure, type Profile, type SecondsFigure } from '../../planner/profiles/profile.js';
import { percentile } from '../kit/statistics.js';
import type { StageMeasured, WorkflowMeasured } from './measure.js';

/** What a profile says beside its figures. */
export interface ProfileSurroundings {
  readonly id: string;
  /** What was measured, for people. */
  readonly what: string;
  /** A name of the machine: processor, GPU, kernel. */
  readonly machine: string;
  /** Where the figures are from: the command. */
  readonly where: string;
  /** The kind of GPU that the stages have, with its memory; undefined: none has one. */
  readonly gpu: { readonly kind: string; readonly memoryGB: number } | undefined;
  /** Memory of the machine, in GB. */
  readonly hostMemoryGB: number;
  /** Units of work of a request; figures are of one unit. */
  readonly units: number;
  /** Stages whose weights are the same for all variants of the model. */
  readonly shared: ReadonlySet<string>;
}

/** The kind that means a share of the machine, where no stage has a GPU. */
export const CPU_KIND = 'CPU';
const SOURCE = 'measured';
/** Digits that are kept. */
const DIGITS = 6;

const rounded = (value: number): number => Number(value.toPrecision(DIGITS));

/** Makes the profile. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when a name does not fit a profile */
export function profileOf(spec: WorkflowSpec, measured: WorkflowMeasured, around: ProfileSurroundings): Profile {
  const { id, what, machine, where, gpu, hostMemoryGB } = around;
  const kind = gpu ?? { kind: CPU_KIND, memoryGB: hostMemoryGB };
  const document = {
    schema: 'onepiece-profile-1',
    id,
    what,
    gpus: { [kind.kind]: { memoryGB: rounded(kind.memoryGB) } },
    stages: spec.stages.map((stage, i) => stageOf(stage, measured.stages[i]!, kind.kind, around)),
    whole: {},
    sources: { [SOURCE]: { what: `measured on ${machine}`, where } },
  };
  checkProfile(document);
  return document as unknown as Profile;
}

function stageOf(
  { name, resources, spread, instances }: WorkflowSpec['stages'][number],
  stage: StageMeasured,
  gpu: string,
  { machine, units, shared, gpu: hasGpu }: ProfileSurroundings,
): object {
  const own = resources?.gpus ?? 0;
  const gpus = Math.max(1, own) * (spread === 'shard' ? instances : 1);
  const figure = (value: number, note?: string, kind: Figure['kind'] = 'measured'): Figure => ({
    value: rounded(value),
    kind,
    source: SOURCE,
    machine,
    ...(note === undefined ? {} : { note }),
  });
  const onProcessor =
    hasGpu !== undefined && own === 0 ? 'it has no GPU: the planner counts one for it anyway' : undefined;
  const seconds = [...stage.seconds].map(([batch, samples]): SecondsFigure & { spread: object } => {
    const { value, ...more } = summary(samples.map((s) => s / units));
    return { gpu, gpus, batch, ...figure(value, onProcessor), ...more };
  });
  const memory = memoryOf(stage, own, hasGpu !== undefined, resources?.gpuMemoryBytes ?? 0);
  const load = stage.loadSeconds.length === 0 ? undefined : summary(stage.loadSeconds);
  return {
    name,
    shared: shared.has(name),
    units: 'input',
    seconds,
    ...(memory === undefined ? {} : { memoryGB: figure(memory.bytes / 1e9, memory.note, memory.kind) }),
    ...(load === undefined
      ? {}
      : {
          loadSeconds: {
            ...figure(load.value, 'from the start of its process until it took requests, the others running'),
            fromStart: true,
            spread: load.spread,
          },
        }),
    ...(stage.outputBytes === undefined ? {} : { outputBytes: figure(stage.outputBytes / units) }),
  };
}

interface Memory {
  readonly bytes: number;
  readonly note: string;
  readonly kind: Figure['kind'];
}

// Of a GPU where the workflow has some: what was seen, or what the workflow says; otherwise of the host.
function memoryOf(stage: StageMeasured, gpus: number, hasGpus: boolean, declared: number): Memory | undefined {
  const { peakBytes, gpuPeakBytes } = stage;
  if (!hasGpus) {
    if (peakBytes === undefined) return undefined;
    return { bytes: peakBytes, note: 'largest resident set of its processes', kind: 'measured' };
  }
  if (gpus === 0) return { bytes: 0, note: 'it has no GPU', kind: 'measured' };
  if (gpuPeakBytes !== undefined) {
    return { bytes: gpuPeakBytes, note: 'the most that nvidia-smi showed', kind: 'measured' };
  }
  if (declared === 0) return undefined;
  return { bytes: declared, note: 'gpuMemoryBytes of the workflow; it was not measured', kind: 'derived' };
}

/** The median, and how much the samples differ. @param samples at least one */
export function summary(samples: readonly number[]): {
  value: number;
  spread: { low: number; high: number; samples: number };
} {
  const sorted = Float64Array.from(samples).sort();
  const isFew = sorted.length < 20;
  return {
    value: percentile(sorted, 0.5),
    spread: {
      low: rounded(isFew ? sorted[0]! : percentile(sorted, 0.05)),
      high: rounded(isFew ? sorted.at(-1)! : percentile(sorted, 0.95)),
      samples: sorted.length,
    },
  };
}

/** Stages of which a figure is missing that `onepiece plan` needs, in words. */
export function missingOf({ stages }: Profile): string[] {
  return stages.flatMap(({ name, memoryGB, loadSeconds }) => [
    ...(memoryGB === undefined ? [`${name}: no memoryGB, which plan and simulate need: add it, with its source`] : []),
    ...(loadSeconds === undefined ? [`${name}: no loadSeconds, which plan and simulate need`] : []),
  ]);
}
