// Proves: no schedule breaks what docs/pipeline-simulation.md says, within its bounds: a stage with two instances,
// whose connections break.
import { PIPELINE_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(PIPELINE_CASES.routedWays);
