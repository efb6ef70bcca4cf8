// Modules of an app's versions, each a file of its own in a scratch folder: what workers import. Not a test.
//
// Invariant: a result says which version each stage was of.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Workflow } from '../../src/ts/pipeline/index.js';

export const APP = 'versioned';

const PIPELINE = JSON.stringify(join(__dirname, '../../src/ts/pipeline/index.js'));
const CLUSTER = JSON.stringify(join(__dirname, '../../src/ts/cluster/index.js'));

/** How a version's processes begin: they work, they throw while they load, or they never come so far. */
export type Beginning = 'works' | 'throws' | 'hangs';

const BEGINNINGS: Record<Beginning, string> = {
  works: '',
  throws: `if (stageProcess() !== undefined) throw new Error('the model is not there');`,
  hangs: `if (stageProcess() !== undefined) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);`,
};

const sourceOf = (version: string, beginning: Beginning) => `
const { workflow } = require(${PIPELINE});
const { stageProcess } = require(${CLUSTER});
${BEGINNINGS[beginning]}
const version = ${JSON.stringify(version)};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
exports.versioned = workflow('${APP}', { module: __filename })
  .stage('first', {
    instances: 2,
    concurrency: 8,
    handler: async (task) => {
      const { n, ms } = task.input('request').meta;
      await sleep(ms);
      return { meta: { n, first: version } };
    },
  })
  .stage('last', { after: ['first'], concurrency: 8, handler: (task) => ({ meta: { ...task.input('first').meta, last: version } }) });
`;

export class VersionModules {
  private readonly folder = mkdtempSync(join(tmpdir(), 'onepiece-versions-'));

  /** The file of a version. */
  fileOf(version: string): string {
    return join(this.folder, `${version}.cjs`);
  }

  /** Writes a version's module, and loads its workflow. */
  make(version: string, beginning: Beginning = 'works', content = version): Workflow {
    const file = this.fileOf(version);
    writeFileSync(file, sourceOf(content, beginning));
    delete require.cache[file];
    return (require(file) as { versioned: Workflow }).versioned;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
