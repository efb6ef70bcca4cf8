// Proves: in each mode our stages bring the bytes of a request to its result; `built` writes into what task.output()
// gave and says so where there is none, `reference` hands on the tensor of an input itself.
import t from 'tap';
import { modes } from '../../../src/ts/bench/pipeline/settings.js';
import { type Shape, shapes } from '../../../src/ts/bench/pipeline/shape.js';
import { PART, workflowOf } from '../../../src/ts/bench/pipeline/workflow.js';
import { type StageTask, type Tensor, tensor } from '../../../src/ts/pipeline/index.js';

const SIZE = 1003;
const request = tensor(
  'u8',
  [SIZE],
  Uint8Array.from({ length: SIZE }, (_, i) => (i * 7) & 0xff),
);

/** Runs every handler of a workflow in this process. */
async function pass(shape: Shape, mode: (typeof modes)[number], more: object) {
  const flow = workflowOf(shape, mode, SIZE);
  const made = new Map<string, Tensor[]>([['request', [request]]]);
  for (const stage of flow.stages) {
    const outputs: Tensor[] = [];
    for (let instance = 0; instance < stage.instances; instance++) {
      const inputs = (name: string) =>
        made.get(name)!.map((part, i) => ({ stage: name, instance: i, meta: {}, parts: { [PART]: part } }));
      const task = { stage: stage.name, instance, instances: stage.instances, inputs, ...more };
      const { parts } = await stage.handler!(task as unknown as StageTask);
      outputs.push(parts![PART]!);
    }
    made.set(stage.name, outputs);
  }
  return { outputs: made.get(flow.stages.at(-1)!.name)!, flow };
}

for (const shape of shapes) {
  for (const mode of modes) {
    void t.test(`${shape}, ${mode}: the result is the request`, async (t) => {
      const given: Tensor[] = [];
      const output = (parts: Record<string, { shape: readonly number[] }>) => {
        const [count] = parts[PART]!.shape;
        given.push(tensor('u8', [count!], new Uint8Array(count!)));
        return { [PART]: given.at(-1) };
      };
      const { outputs, flow } = await pass(shape, mode, { output });
      t.equal(outputs.length, 1);
      t.strictSame(Buffer.from(outputs[0]!.data as Uint8Array), Buffer.from(request.data as Uint8Array));
      t.equal(outputs[0] === request, mode === 'reference');
      t.equal(given.includes(outputs[0]!), mode === 'built');
      t.equal(flow.maxRequestBytes, SIZE);
    });
  }
}
