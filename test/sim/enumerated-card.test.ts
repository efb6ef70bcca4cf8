// Proves: the rings keep every property in all runs of small configurations with a fault on a network card, within the
// bounds of docs/ring-simulation.md.
import { CARD_CASES } from './cases.js';
import { proveAll } from './enumerate.js';

proveAll(CARD_CASES);
