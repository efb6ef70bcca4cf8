// The workflow of jobs.mts. Worker processes import this file; they must not open the store, so it is not in jobs.mts.
import { fileURLToPath } from 'node:url';
import { workflow } from 'onepiece-rdma/pipeline';

export const square = workflow('square', { module: fileURLToPath(import.meta.url) }).stage('square', {
  handler: (task) => ({ meta: { square: Number(task.input('request').meta.value) ** 2 } }),
});
