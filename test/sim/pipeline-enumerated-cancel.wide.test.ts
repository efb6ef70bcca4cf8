// Proves: no schedule breaks what docs/pipeline-simulation.md says, within its bounds: a request that is cancelled at
// any step, before, while or after plans change, a place is given up, or a process is replaced.
import { PIPELINE_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(PIPELINE_CASES.cancel);
