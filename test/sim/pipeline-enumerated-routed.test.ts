// Proves: no schedule breaks what docs/pipeline-simulation.md says, within its bounds: a stage with two instances,
// whose processes and plans change.
import { PIPELINE_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(PIPELINE_CASES.routed);
