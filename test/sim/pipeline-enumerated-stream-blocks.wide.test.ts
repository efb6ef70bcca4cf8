// Proves: no schedule breaks what docs/pipeline-simulation.md says, within its bounds: three stages that stream, whose
// tensors lie in blocks and are READ.
import { PIPELINE_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(PIPELINE_CASES.streamBlocks);
