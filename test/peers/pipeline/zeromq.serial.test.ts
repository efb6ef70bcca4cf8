// Proves: zeromq.js between four processes or more, has every shape and leaves nothing behind.
import { provePeer } from './peer-proof.js';

provePeer('zeromq', /^zeromq\.js \d/);
