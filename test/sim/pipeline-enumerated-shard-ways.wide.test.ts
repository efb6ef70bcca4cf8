// Proves: no schedule breaks what docs/pipeline-simulation.md says, within its bounds: two shards whose connections
// break.
import { PIPELINE_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(PIPELINE_CASES.shardWays);
