// Proves: the rings keep every property in all runs of small configurations with a fault on a network card, and more
// than one message, within the bounds of docs/ring-simulation.md.
import { LARGER_CARD_CASES } from './cases.js';
import { proveAll } from './enumerate.js';

proveAll(LARGER_CARD_CASES);
