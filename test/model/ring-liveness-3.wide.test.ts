// Proves on the model: every message of a live producer is acknowledged, whatever happens to the others.
import { checkGroup } from './model.js';

checkGroup('liveness', '3/3', 2);
