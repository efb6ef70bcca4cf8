// Proves: no schedule breaks what docs/pipeline-simulation.md says, within its bounds: a place that is given up, and a
// death.
import { PIPELINE_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(PIPELINE_CASES.change);
