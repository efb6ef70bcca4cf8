// Proves: no schedule breaks what docs/pipeline-simulation.md says, within its bounds: a diamond whose connections
// break.
import { PIPELINE_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(PIPELINE_CASES.ways);
