// Workflows of the cluster benchmark that are more than one file: each version, and each load time, is a module of its
// own in the scratch folder, which workers import.
//
// Invariant: an answer names the version of each stage that worked on it.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Workflow } from '../../pipeline/index.js';

/** Name of the app that is updated. */
export const UPDATED = 'bench-update';
/** Name of the app that is scaled. */
export const SCALED = 'bench-step';

/** How the stage of {@link scaledModule} is loaded and scaled; times in ms. */
export interface ScaledModule {
  readonly loadMs: number;
  readonly sloMs: number;
  readonly most: number;
}

const HEAD = `
const { workflow } = require(${JSON.stringify(join(__dirname, '../../pipeline/index.js'))});
const { stageProcess } = require(${JSON.stringify(join(__dirname, '../../cluster/index.js'))});
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
`;

/**
 * Writes a version of the app that is updated, and loads it.
 *
 * @param works false: its processes throw while they load
 */
export function updatedModule(folder: string, version: string, works: boolean): Workflow {
  const fails = `if (stageProcess() !== undefined) throw new Error('the model is not there');`;
  return make(
    folder,
    version,
    `${works ? '' : fails}
const version = ${JSON.stringify(version)};
exports.flow = workflow('${UPDATED}', { module: __filename })
  .stage('first', {
    instances: 2,
    concurrency: 8,
    attempts: 100,
    handler: async (task) => {
      const { n, ms } = task.input('request').meta;
      await sleep(ms);
      return { meta: { n, first: version } };
    },
  })
  .stage('last', {
    after: ['first'],
    concurrency: 8,
    attempts: 100,
    handler: (task) => ({ meta: { ...task.input('first').meta, last: version } }),
  });
`,
  );
}

/** Writes the app that is scaled, and loads it. */
export function scaledModule(folder: string, { loadMs, sloMs, most }: ScaledModule): Workflow {
  return make(
    folder,
    'scaled',
    `if (stageProcess()?.startsWith('work/')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${loadMs});
exports.flow = workflow('${SCALED}', { module: __filename }).stage('work', {
  scale: { max: ${most}, sloMs: ${sloMs} },
  handler: async (task) => {
    const { n, ms } = task.input('request').meta;
    await sleep(ms);
    return { meta: { n } };
  },
});
`,
  );
}

function make(folder: string, name: string, source: string): Workflow {
  const file = join(folder, `${name}.cjs`);
  writeFileSync(file, HEAD + source);
  return (require(file) as { flow: Workflow }).flow;
}
