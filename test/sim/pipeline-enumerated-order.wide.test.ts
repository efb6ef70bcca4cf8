// Proves: no schedule breaks what docs/pipeline-simulation.md says, within its bounds: one stage, with an event out of
// order.
import { PIPELINE_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(PIPELINE_CASES.order);
