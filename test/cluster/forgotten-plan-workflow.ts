// The workflow of the tests of plans that are forgotten; workers import this file.
//
// Invariant: a task ends once the file is there that its request names, in whatever process it runs.
import { appendFileSync, existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { workflow } from '../../src/ts/pipeline/index.js';

export const held = workflow('held', { module: __filename }).stage('work', {
  attempts: 100,
  handler: async (task) => {
    const { file } = task.input('request').meta;
    appendFileSync(`${String(file)}.begun`, `${process.pid}\n`);
    while (!existsSync(String(file))) await sleep(5, undefined, { signal: task.signal });
    return { meta: { pid: process.pid } };
  },
});
