// Proves: no schedule of small pipelines breaks what docs/pipeline-simulation.md says, within its bounds: chains of one and two stages.
import { CHAIN_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(CHAIN_CASES);
