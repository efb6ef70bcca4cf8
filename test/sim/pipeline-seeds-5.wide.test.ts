// Proves: pipelines of up to six stages keep what docs/pipeline-simulation.md says, in runs that seeds decide (part 5
// of 6).
import { proveSeeds } from './pipeline-seeds.js';

proveSeeds(4001, 5000);
