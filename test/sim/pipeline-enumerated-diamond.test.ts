// Proves: no schedule of small pipelines breaks what docs/pipeline-simulation.md says, within its bounds: a diamond whose processes die, stop and are replaced.
import { DIAMOND_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(DIAMOND_CASES);
