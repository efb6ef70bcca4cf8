// Wan2.1-I2V-14B as a workflow: a prompt and a picture become the frames of a clip. See docs/python-examples.md.
//
// Invariant: what the stages of Python make has the sizes that are declared here: both read WAN_OPTIONS (JSON).
import { fileURLToPath } from 'node:url';
import { workflow } from 'onepiece-rdma/pipeline';

const options = process.env.WAN_OPTIONS ?? '{}';
const interpreter = process.env.WAN_PYTHON ?? 'python3';
const sources = fileURLToPath(new URL('../..', import.meta.url));
const file = fileURLToPath(new URL('stages.py', import.meta.url));

const stage = (name) => ({
  python: { file, name, interpreter, env: { WAN_OPTIONS: options, PYTHONPATH: sources } },
  maxOutputBytes: 2 ** 28,
});

/** A request has `prompt` (and `negative`) in its metadata and `picture`, u8 of [height, width, 3], among its parts. */
export const wan = workflow('wan', { module: fileURLToPath(import.meta.url), maxRequestBytes: 2 ** 26 })
  .stage('text-encode', stage('TextEncode'))
  .stage('image-encode', stage('ImageEncode'))
  .stage('diffuse', { ...stage('Diffuse'), after: ['text-encode', 'image-encode'] })
  .stage('decode', { ...stage('Decode'), after: ['diffuse'] });
