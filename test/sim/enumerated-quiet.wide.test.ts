// Proves: the rings keep every property in all runs of small configurations without a fault, within the
// bounds of docs/ring-simulation.md.
import { QUIET_CASES } from './cases.js';
import { proveAll } from './enumerate.js';

proveAll(QUIET_CASES);
