// A pipeline of two stages, one in JavaScript and one in Python (mood.py), and a program that uses it.
//
//   printf 'A good day!\nAn AWFUL, bad evening.\n' | node examples/python-stage/mood.mjs
//
// It needs python3 (3.9 or later) and no package: onepiece_stage comes with onepiece-rdma.
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { LocalPipeline } from 'onepiece-rdma/cluster';
import { tensor, workflow } from 'onepiece-rdma/pipeline';

/** @param {import('onepiece-rdma/pipeline').StageTask} task */
function clean(task) {
  const text = task.input('request').parts.text;
  if (text?.dtype !== 'u8') throw new TypeError('text must be u8, in UTF-8');
  const words = Buffer.from(/** @type {Uint8Array} */ (text.data)).toString();
  const bytes = Buffer.from(words.toLowerCase().replace(/[^\p{Letter}\n]+/gu, ' '));
  return { parts: { text: tensor('u8', [bytes.length], bytes) } };
}

export const mood = workflow('mood', { module: fileURLToPath(import.meta.url) })
  .stage('clean', { handler: clean })
  // A relative path is looked up beside this file. Each instance is a Python process of its own.
  .stage('score', { after: ['clean'], instances: 2, python: { file: 'mood.py', name: 'Mood' } });

// In a process of a stage main() does nothing: this file is the workflow's module and the program.
await LocalPipeline.main(mood, async (pipeline) => {
  const input = Buffer.from(await text(process.stdin));
  const { outputs } = await pipeline.run({ parts: { text: tensor('u8', [input.length], input) } });
  const scores = outputs[0]?.parts.scores;
  for (const score of scores?.data ?? []) console.log(score);
});
