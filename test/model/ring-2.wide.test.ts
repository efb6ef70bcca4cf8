// Proves on the model: whatever dies or stops, and whenever, no message is torn, lost, doubled or out of order, none is
// acknowledged that was not delivered, credit is kept, and no byte has two writers (docs/ring-model.md).
import { checkGroup } from './model.js';

checkGroup('safety', '2/4', 6);
