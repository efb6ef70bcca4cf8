// Climbs to the step in its first argument and ends in the way of its second; it never closes anything.
import { native } from '../../src/ts/addon/native.js';
import { climb } from './climb.js';

const [, , step = '', ending = ''] = process.argv;
native();
const top = climb(step);
// The channel to the parent would keep it alive.
if (process.connected) process.disconnect();
process.on('exit', (code) => console.log(`leaving with ${code}, ${typeof top.work}`));
switch (ending) {
  case 'exit':
    process.exit(7);
    break;
  case 'exit-later':
    setImmediate(() => process.exit(7));
    break;
  case 'throw':
    throw new Error('on purpose');
  case 'close-then-exit':
    top.device?.close();
    process.exit(7);
    break;
  default:
    // The natural end: nothing is left to do.
    break;
}
