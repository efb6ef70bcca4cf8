// The workflow of `onepiece bench python`: one stage in Python fills a tensor, the next one reads it.
//
// Invariant: worker processes import this module too: which Python it is comes from the environment.
import { workflow } from '../../pipeline/index.js';
import { stagesFile } from './round-trip.js';
import { INTERPRETER } from './settings.js';

const interpreter = process.env[INTERPRETER] ?? 'python3';
const file = stagesFile();

export const handOver = workflow('python-hand-over', { module: __filename })
  .stage('fill', { python: { file, name: 'fill', interpreter }, maxOutputBytes: 2 ** 29 })
  .stage('read', { after: ['fill'], python: { file, name: 'read', interpreter } });
