// Proves: no schedule of small pipelines breaks what docs/pipeline-simulation.md says, within its bounds: two shards and a stage behind them.
import { SHARD_CASES } from './pipeline-cases.js';
import { provePipelines } from './pipeline-enumerate.js';

provePipelines(SHARD_CASES);
