// Proves that the model can fail: with one part of the protocol left out, the property that it serves breaks, and no
// other.
import { checkGroup } from './model.js';

checkGroup('controls', '1/2', 11);
