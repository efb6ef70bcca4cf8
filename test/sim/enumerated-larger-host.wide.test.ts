// Proves: the rings keep every property in all runs of small configurations with a fault where the process copies
// itself, and more than one message, within the bounds of docs/ring-simulation.md.
import { LARGER_HOST_CASES } from './cases.js';
import { proveAll } from './enumerate.js';

proveAll(LARGER_HOST_CASES);
