// Proves: no schedule breaks what docs/pipeline-simulation.md says, within its bounds: two shards whose processes and
// plans change.
import { PIPELINE_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(PIPELINE_CASES.shards);
