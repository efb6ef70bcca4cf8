// A module of a workflow that cannot be imported in a worker.
import { workflow } from '../../src/ts/pipeline/index.js';

if (process.connected) throw new Error('this module never works in a worker');

export const broken = workflow('broken', { module: __filename }).stage('a', { handler: () => ({}) });
