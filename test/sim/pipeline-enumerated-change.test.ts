// Proves: no schedule of small pipelines breaks what docs/pipeline-simulation.md says, within its bounds: a place that is given
// up, and processes that die before, meanwhile or after.
import { CHANGE_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(CHANGE_CASES);
