// Proves: pipelines of up to six stages keep what docs/pipeline-simulation.md says, in runs that seeds decide (part 6
// of 6).
import { proveSeeds } from './pipeline-seeds.js';

proveSeeds(5001, 6000);
