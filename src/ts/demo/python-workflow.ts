// The demo's workflow with its three heavy stages in Python: `onepiece demo --python`.
//
// Invariant: each stage makes the same bytes as the stage of that name in workflow.ts. Worker processes import this
// module too, so the environment names the interpreter.
import { join } from 'node:path';
import { workflow } from '../pipeline/index.js';
import { packageRoot } from '../addon/native.js';
import { DEMO_PYTHON } from './python-check.js';
import { imageToVideo } from './workflow.js';

const interpreter = process.env[DEMO_PYTHON] ?? 'python3';
const file = join(packageRoot(), 'src', 'python', 'examples', 'image_to_video', 'stages.py');
// Four processes share the machine: their BLAS threads would wait for each other.
const env = { OPENBLAS_NUM_THREADS: '1', OMP_NUM_THREADS: '1', MKL_NUM_THREADS: '1' };

export const imageToVideoPython = workflow('image-to-video', { module: __filename })
  .stage('text-encode', { handler: imageToVideo.handler('text-encode') })
  .stage('image-encode', { python: { file, name: 'image_encode', interpreter, env } })
  .stage('diffuse', {
    after: ['text-encode', 'image-encode'],
    instances: 2,
    spread: 'shard',
    python: { file, name: 'diffuse', interpreter, env },
  })
  .stage('decode', { after: ['diffuse'], python: { file, name: 'decode', interpreter, env } })
  .stage('assemble', { after: ['decode'], handler: imageToVideo.handler('assemble') });
