// Proves: no schedule of small pipelines breaks what docs/pipeline-simulation.md says, within its bounds: a diamond whose connections break.
import { WAY_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(WAY_CASES);
