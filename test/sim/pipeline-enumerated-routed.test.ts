// Proves: no schedule of small pipelines breaks what docs/pipeline-simulation.md says, within its bounds: a chain whose first stage has two instances.
import { ROUTED_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(ROUTED_CASES);
