// Proves: no schedule of small pipelines breaks what docs/pipeline-simulation.md says, within its bounds: a chain of one stage, with events in any order.
import { ORDER_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(ORDER_CASES);
