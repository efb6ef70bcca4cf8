// Proves: no schedule of small pipelines breaks what docs/pipeline-simulation.md says, within its bounds: a diamond whose plan changes.
import { PLAN_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(PLAN_CASES);
