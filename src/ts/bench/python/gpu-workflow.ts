// The workflows of `onepiece bench python --gpu`.
//
// Invariant: worker processes import this module too: which Python it is, and how many GPUs there are, comes from the
// environment.
import { join } from 'node:path';
import { packageRoot } from '../../addon/native.js';
import { workflow } from '../../pipeline/index.js';
import { GPUS, INTERPRETER } from './settings.js';

/** What each of two stages may have of one GPU: both have blocks of 1 GiB, and PyTorch's own memory. */
const SHARE_BYTES = 16 * 2 ** 30;
const LARGEST_BYTES = 2 ** 30;

const interpreter = process.env[INTERPRETER] ?? 'python3';
const gpus = Number(process.env[GPUS] ?? 1);
const file = join(packageRoot(), 'src', 'python', 'bench', 'gpu_stages.py');
const python = (name: string) => ({ file, name, interpreter });

/** Copies within one process: from a lane, from pinned memory, and between two GPUs where there are two. */
export const gpuCopies = workflow('gpu-copies', { module: __filename, maxRequestBytes: 2 ** 29 }).stage('copies', {
  python: python('Copies'),
  resources: { gpus: Math.min(2, gpus) },
});

const resources = gpus > 1 ? { gpus: 1 } : { gpuMemoryBytes: SHARE_BYTES };

/** An output that stays on the GPU of its stage, and is copied to that of the next. */
export const gpuHandOver = workflow('gpu-hand-over', { module: __filename })
  .stage('make', { python: python('Make'), resources, maxOutputBytes: LARGEST_BYTES })
  .stage('take', { after: ['make'], python: python('Take'), resources });
