// The costs of a model's stages, each figure with its source.
//
// Invariant: a checked profile names a source for every figure, and checking adds none. costs.ts says which figures may
// be missing, and what is assumed instead.
import { RdmaError } from '../../core/errors.js';
import {
  checkBoolean,
  checkInteger,
  checkObject,
  checkOneOf,
  checkString,
  invalidArgument,
} from '../../core/validate.js';

/** One figure. */
export interface Figure {
  readonly value: number;
  /** `measured`: by this project; `published`: by the source; `derived`: computed from its figures. */
  readonly kind: 'measured' | 'published' | 'derived';
  /** A name of the profile's `sources`. */
  readonly source: string;
  readonly machine?: string | undefined;
  readonly note?: string | undefined;
  /** Of `loadSeconds`: the start of the process is part of it. */
  readonly fromStart?: boolean | undefined;
  /** How much what was measured differs; undefined: the source does not say. */
  readonly spread?: FigureSpread | undefined;
}

/** The samples of which a figure is the median. */
export interface FigureSpread {
  /** 5 and 95 % of the samples are not above these; of fewer than 20 they are the least and the largest one. */
  readonly low: number;
  readonly high: number;
  readonly samples: number;
}

/** Seconds of a task: of one unit, or of a batch of units. */
export interface SecondsFigure extends Figure {
  readonly gpu: string;
  /** GPUs that work on it together. */
  readonly gpus: number;
  readonly batch: number;
}

/** A stage of a profile. */
export interface StageProfile {
  readonly name: string;
  /** Its weights are the same for all variants of the model. */
  readonly shared: boolean;
  /** Which units of a request its time grows with; `none`: it takes the same for all. */
  readonly units: 'input' | 'output' | 'none';
  readonly seconds: readonly SecondsFigure[];
  readonly memoryGB?: Figure | undefined;
  readonly weightsGB?: Figure | undefined;
  readonly loadSeconds?: Figure | undefined;
  readonly switchSeconds?: Figure | undefined;
  readonly outputBytes?: Figure | undefined;
}

/** The costs of a model, stage by stage. */
export interface Profile {
  readonly id: string;
  readonly what: string;
  /** Kinds of GPU that figures are of, with the memory of each. */
  readonly gpus: Readonly<Record<string, { readonly memoryGB: number }>>;
  /** One after the other. */
  readonly stages: readonly StageProfile[];
  /** All stages in one instance; a missing figure is the sum over the stages. */
  readonly whole: { readonly memoryGB?: Figure | undefined; readonly loadSeconds?: Figure | undefined };
  readonly sources: Readonly<Record<string, { readonly what: string; readonly where: string }>>;
}

/** The form of the id of a profile. */
export const PROFILE_ID = /^[a-z0-9][a-z0-9._-]{0,79}$/;

/** Fields that are not figures; `profiles/schema.json` has the same. */
const FIELDS = {
  profile: ['schema', 'id', 'what', 'gpus', 'stages', 'whole', 'sources'],
  stage: ['name', 'shared', 'units', 'seconds'],
  figure: ['value', 'kind', 'source', 'machine', 'note', 'fromStart', 'spread'],
  seconds: ['gpu', 'gpus', 'batch'],
} as const;
const WHOLE = ['memoryGB', 'loadSeconds'] as const;
const FIGURES = ['memoryGB', 'weightsGB', 'loadSeconds', 'switchSeconds', 'outputBytes'] as const;
const MAX_VALUE = 1e15;

/**
 * Checks the contents of a profile file; `profiles/schema.json` describes the format. A field that it does not know is
 * an error.
 *
 * @param input the parsed JSON
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the field
 */
export function checkProfile(input: unknown): Profile {
  const given = checkObject<Record<string, unknown>>('profile', input);
  checkFields('the profile', given, FIELDS.profile);
  checkOneOf('schema of the profile', given.schema, ['onepiece-profile-1']);
  const id = checkString('id of the profile', given.id, { pattern: PROFILE_ID });
  const what = checkString(`what of profile ${id}`, given.what, { maxLength: 500 });
  const sources = checkObject<Profile['sources']>(`sources of profile ${id}`, given.sources);
  for (const [name, source] of Object.entries(sources)) {
    const texts = checkObject<Record<string, unknown>>(`source ${name} of profile ${id}`, source);
    for (const key of ['what', 'where']) checkString(`${key} of source ${name} of profile ${id}`, texts[key]);
  }
  const gpus = checkObject<Profile['gpus']>(`gpus of profile ${id}`, given.gpus);
  if (Object.keys(gpus).length === 0) throw invalidArgument(`gpus of profile ${id}`, gpus, 'one kind or more');
  for (const [kind, gpu] of Object.entries(gpus)) {
    const { memoryGB } = checkObject<{ memoryGB: number }>(`gpu ${kind} of profile ${id}`, gpu);
    if (!(memoryGB > 0 && memoryGB < 1e6)) throw invalidArgument(`memoryGB of gpu ${kind}`, memoryGB, 'above 0');
  }
  if (!Array.isArray(given.stages) || given.stages.length < 1 || given.stages.length > 16) {
    throw invalidArgument(`stages of profile ${id}`, given.stages, 'a list of 1 to 16');
  }
  const figure = (name: string, value: unknown, more: readonly string[] = []) =>
    checkFigure(`${name} of profile ${id}`, value, sources, more);
  const stages = given.stages.map((each): StageProfile => {
    const stage = checkObject<Record<string, unknown>>(`a stage of profile ${id}`, each);
    const name = checkString(`name of a stage of profile ${id}`, stage.name, { pattern: /^[a-z0-9][a-z0-9-]{0,39}$/ });
    checkFields(`stage ${name} of profile ${id}`, stage, [...FIELDS.stage, ...FIGURES]);
    if (!Array.isArray(stage.seconds) || stage.seconds.length === 0) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `profile ${id} lacks seconds of stage ${name}`);
    }
    const seconds = stage.seconds.map((entry) => {
      const { gpu, gpus: count, batch } = checkObject<Record<string, unknown>>(`seconds of ${name}`, entry);
      return {
        ...figure(`seconds of ${name}`, entry, FIELDS.seconds),
        gpu: checkOneOf(`gpu of seconds of ${name}`, gpu, Object.keys(gpus)),
        gpus: checkInteger(`gpus of seconds of ${name}`, count, 1, 64),
        batch: checkInteger(`batch of seconds of ${name}`, batch, 1, 1024),
      };
    });
    for (const { value } of seconds) if (value === 0) throw invalidArgument(`seconds of ${name}`, value, 'above 0');
    const runs = seconds.map(({ gpu, gpus: count, batch }) => `GPU ${gpu}, gpus ${count}, batch ${batch}`);
    const twice = runs.find((run, i) => runs.indexOf(run) < i);
    if (twice !== undefined) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `profile ${id} has seconds of ${name} twice for ${twice}`);
    }
    const more: Partial<Record<(typeof FIGURES)[number], Figure>> = {};
    for (const key of FIGURES) if (stage[key] !== undefined) more[key] = figure(`${key} of ${name}`, stage[key]);
    return {
      name,
      shared: checkBoolean(`shared of stage ${name}`, stage.shared),
      units: checkOneOf(`units of stage ${name}`, stage.units ?? 'input', ['input', 'output', 'none'] as const),
      seconds,
      ...more,
    } as StageProfile;
  });
  if (new Set(stages.map(({ name }) => name)).size < stages.length) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `profile ${id} has two stages of one name`);
  }
  const whole: { memoryGB?: Figure; loadSeconds?: Figure } = {};
  const wholeGiven = checkObject<Record<string, unknown>>(`whole of profile ${id}`, given.whole ?? {});
  checkFields(`whole of profile ${id}`, wholeGiven, WHOLE);
  for (const key of WHOLE) {
    if (wholeGiven[key] !== undefined) whole[key] = figure(`${key} of the whole`, wholeGiven[key]);
  }
  return { id, what, gpus, stages, whole, sources };
}

// A field with another name would be left out without a word, and something else assumed instead.
function checkFields(what: string, given: object, known: readonly string[]): void {
  const unknown = Object.keys(given).find((key) => !known.includes(key));
  if (unknown === undefined) return;
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${what} has a field ${unknown}, which is not one of its fields`, {
    remedy: `they are ${known.join(', ')}`,
  });
}

function checkFigure(name: string, input: unknown, sources: Profile['sources'], more: readonly string[]): Figure {
  const { value, kind, source, machine, note, spread, fromStart } = checkObject<Figure>(name, input);
  checkFields(name, input as object, [...FIELDS.figure, ...more]);
  if (!(typeof value === 'number' && value >= 0 && value < MAX_VALUE)) {
    throw invalidArgument(`value of ${name}`, value, 'a number, 0 or more');
  }
  if (typeof source !== 'string' || !Object.hasOwn(sources, source)) {
    throw invalidArgument(`source of ${name}`, source, 'one of the sources of the profile');
  }
  const checkedKind = checkOneOf(`kind of ${name}`, kind, ['measured', 'published', 'derived'] as const);
  const measured = {
    ...(spread === undefined ? {} : { spread: checkSpread(`spread of ${name}`, spread) }),
    ...(fromStart === undefined ? {} : { fromStart: checkBoolean(`fromStart of ${name}`, fromStart) }),
  };
  return { value, kind: checkedKind, source, machine, note, ...measured };
}

function checkSpread(name: string, input: unknown): FigureSpread {
  const { low, high, samples } = checkObject<FigureSpread>(name, input);
  if (!(typeof low === 'number' && typeof high === 'number' && low >= 0 && high >= low && high < MAX_VALUE)) {
    throw invalidArgument(name, input, 'low and high, 0 or more and in order');
  }
  return { low, high, samples: checkInteger(`samples of ${name}`, samples, 1) };
}
