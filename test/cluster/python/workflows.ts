// Workflows whose stages are in Python; workers import this module.
import path from 'node:path';
import { type PythonSpec, type StageOutput, type StageTask, workflow } from '../../../src/ts/pipeline/index.js';

/** The interpreter of the tests: Debian's, which has NumPy. */
export const INTERPRETER = '/usr/bin/python3';
/** The folder of the sources, seen from the compiled tests. */
const FOLDER = path.resolve(__dirname, '../../../../test/cluster/python');

const python = (name: string, more: Partial<PythonSpec> = {}): { python: PythonSpec } => ({
  python: { file: path.join(FOLDER, 'stages.py'), name, interpreter: INTERPRETER, ...more },
});
const LIMIT = { maxOutputBytes: 2 ** 27 };
const here = { module: __filename };

/** Python, then Python, then JavaScript: `x` is doubled and goes up by one, and by ten. */
export const mixed = workflow('mixed', { ...here, maxRequestBytes: 2 ** 27 })
  .stage('double', { ...python('double'), ...LIMIT })
  .stage('increment', { after: ['double'], ...python('increment'), ...LIMIT })
  .stage('last', {
    after: ['increment'],
    ...LIMIT,
    handler: (task: StageTask<'increment'>): StageOutput => {
      const { meta, parts } = task.input('increment');
      const from = parts.x!.data as Float32Array;
      const { x } = task.output({ x: { dtype: 'f32', shape: parts.x!.shape } });
      for (let i = 0; i < from.length; i++) x.data[i] = from[i]! + 10;
      return { meta, parts: { x } };
    },
  });

export const pair = workflow('pair', { ...here, maxRequestBytes: 2 ** 27 })
  .stage('double', { ...python('double'), ...LIMIT })
  .stage('increment', { after: ['double'], ...python('increment'), ...LIMIT });

/** The pair, whose tasks survive many deaths of a process. */
export const steady = workflow('steady', { ...here, maxRequestBytes: 2 ** 22 })
  .stage('double', { ...python('double'), instances: 2, attempts: 10, maxOutputBytes: 2 ** 22 })
  .stage('increment', {
    after: ['double'],
    ...python('increment'),
    instances: 2,
    attempts: 10,
    maxOutputBytes: 2 ** 22,
  });

export const nothing = workflow('nothing', here).stage('nothing', python('nothing'));

const GRACE = { graceMs: 300 };
export const act = workflow('act', here).stage('act', { ...python('Act'), ...GRACE });
export const limited = workflow('limited', here).stage('act', { ...python('Act'), ...GRACE, taskTimeoutMs: 400 });
export const batch = workflow('batch', here).stage('act', {
  ...python('Batch'),
  batch: { size: 4, waitMs: 200 },
});
export const together = workflow('together', here).stage('act', { ...python('together'), concurrency: 4 });

/** Those that cannot start. */
export const failing = {
  setup: workflow('no-setup', here).stage('act', python('Fails')),
  name: workflow('no-name', here).stage('act', python('Nobody')),
  file: workflow('no-file', here).stage('act', python('Act', { file: 'nowhere.py' })),
  package: workflow('no-package', here).stage('act', python('Act', { file: path.join(FOLDER, 'missing.py') })),
  interpreter: workflow('no-interpreter', here).stage('act', python('Act', { interpreter: 'no-such-python' })),
  concurrency: workflow('no-concurrency', here).stage('act', { ...python('Act'), concurrency: 2 }),
};
// Workers look for workflows among the exports.
export const { setup, name, file, package: missing, interpreter, concurrency } = failing;
