// Proves: the rings keep every property in all runs of small configurations with a fault where the process copies
// itself, within the bounds of docs/ring-simulation.md.
import { HOST_CASES } from './cases.js';
import { proveAll } from './enumerate.js';

proveAll(HOST_CASES);
