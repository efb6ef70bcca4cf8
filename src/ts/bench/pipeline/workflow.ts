// The workflows that our own pipeline is measured with: each shape with each mode of its stages.
//
// Invariant: every stage copies each byte of its output once in `built`, once in `returned` (the pipeline copies it a
// second time) and never in `reference`. A worker finds its workflow here by name, so each one is exported.
import { tensor, workflow, type StageOutput, type StageTask, type Workflow } from '../../pipeline/index.js';
import { numberIn } from './request-bytes.js';
import type { Mode } from './settings.js';
import { gather, outputBytes, type Place, placeOf, requestBytesOf, SHARDS, type Shape } from './shape.js';

/** The one tensor of every message. */
export const PART = 'clip';

const bytesOf = (task: StageTask, stages: readonly string[]) =>
  stages.flatMap((stage) => task.inputs(stage).map(({ parts }) => parts[PART]!.data as Uint8Array));

// A place of a shape, where shards are instances of one stage.
const placeIn = (shape: Shape, task: StageTask): Place =>
  placeOf(shape, task.instances > 1 ? `${task.stage}-${task.instance}` : task.stage);

const handlers: Record<Mode, (shape: Shape, after: readonly string[]) => (task: StageTask) => StageOutput> = {
  built: (shape, after) => (task) => {
    const place = placeIn(shape, task);
    const inputs = bytesOf(task, after);
    const sizeBytes = requestBytesOf(shape, place, inputs);
    const parts = task.output({ [PART]: { dtype: 'u8', shape: [outputBytes(place, sizeBytes)] } });
    gather(shape, place, sizeBytes, inputs, parts[PART]!.data as Uint8Array);
    return { parts };
  },
  // An array for each instance, used for each task: the pipeline has copied it when the next one begins.
  returned: (shape, after) => {
    const made: Uint8Array[] = [];
    return (task) => {
      const place = placeIn(shape, task);
      const inputs = bytesOf(task, after);
      const sizeBytes = requestBytesOf(shape, place, inputs);
      const length = outputBytes(place, sizeBytes);
      if (made[task.instance]?.length !== length) made[task.instance] = new Uint8Array(length);
      const output = made[task.instance]!;
      gather(shape, place, sizeBytes, inputs, output);
      return { parts: { [PART]: tensor('u8', [length], output) } };
    };
  },
  // With several inputs, those take turns from request to request.
  reference: (_, after) => (task) => {
    const inputs = after.flatMap((stage) => task.inputs(stage).map(({ parts }) => parts[PART]!));
    return { parts: { [PART]: inputs[numberIn(inputs[0]!.data as Uint8Array) % inputs.length]! } };
  },
};

function make(shape: Shape, mode: Mode): Workflow {
  const flow = workflow(`${shape}-${mode}`, { module: __filename }) as Workflow;
  const stage = (name: string, after: readonly string[], instances = 1) =>
    flow.stage(name, {
      after,
      instances,
      spread: instances > 1 ? 'shard' : 'route',
      handler: handlers[mode](shape, after),
    });
  if (shape === 'chain') {
    stage('one', ['request']);
    stage('two', ['one']);
    stage('three', ['two']);
  } else if (shape === 'diamond') {
    stage('a', ['request']);
    stage('b', ['a']);
    stage('c', ['a']);
    stage('d', ['b', 'c']);
  } else {
    stage('head', ['request']);
    stage('work', ['head'], SHARDS);
    stage('tail', ['work']);
  }
  return flow;
}

export const chainBuilt = make('chain', 'built');
export const chainReturned = make('chain', 'returned');
export const chainReference = make('chain', 'reference');
export const diamondBuilt = make('diamond', 'built');
export const diamondReturned = make('diamond', 'returned');
export const diamondReference = make('diamond', 'reference');
export const shardBuilt = make('shard', 'built');
export const shardReturned = make('shard', 'returned');
export const shardReference = make('shard', 'reference');

const all: readonly Workflow[] = [
  chainBuilt,
  chainReturned,
  chainReference,
  diamondBuilt,
  diamondReturned,
  diamondReference,
  shardBuilt,
  shardReturned,
  shardReference,
];

/** The workflow of a shape and a mode, for requests of `sizeBytes`. */
export function workflowOf(shape: Shape, mode: Mode, sizeBytes: number): Workflow {
  const flow = all.find(({ name }) => name === `${shape}-${mode}`)!;
  const stages = Object.fromEntries(flow.stages.map(({ name }) => [name, sizeBytes]));
  return flow.withSizes({ request: sizeBytes, stages });
}
