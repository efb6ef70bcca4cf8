// Sends prompts to the pipeline of workflow.mjs, all at a time or one after the other (alone); prints
// a line of JSON for each answer, in order.
//
//   LLM_OPTIONS='{"layers":2,"width":128,"vocabulary":300,"longest":64}' node run.mjs [prompts] [alone]
//
// Invariant: prompt i is tokens (7 i + 3 j) mod 256 for j up to 5 + i, and wants 4 + 3 i tokens.
import { LocalPipeline } from 'onepiece-rdma/cluster';
import { tensor } from 'onepiece-rdma/pipeline';
import { generate } from './workflow.mjs';

const [prompts = '4', mode = 'together'] = process.argv.slice(2);
const pipeline = await LocalPipeline.start(generate, { device: 'soft0' });

function ask(i) {
  const ids = Int32Array.from({ length: 5 + i }, (_, j) => (7 * i + 3 * j) % 256);
  return pipeline.run({ meta: { wanted: 4 + 3 * i }, parts: { ids: tensor('i32', [ids.length], ids) } });
}

try {
  const numbers = [...Array(Number(prompts)).keys()];
  const answers = [];
  if (mode === 'alone') for (const i of numbers) answers.push(await ask(i));
  else answers.push(...(await Promise.all(numbers.map(ask))));
  for (const [prompt, { outputs }] of answers.entries()) {
    console.log(JSON.stringify({ row: 'generate', prompt, ids: [...outputs[0].parts.ids.data] }));
  }
} finally {
  await pipeline.close();
}
