// The process that a benchmark forks as its other side.
//
// Invariant: ends with its parent, however that ends.
import { dieWithParent } from '../../verbs/process.js';
import { ForkLink } from '../kit/link.js';
import { serve } from './server.js';
import type { Place } from './side.js';

/** What the process is told first. */
export interface ServerConfig {
  parentPid: number;
  place: Place;
}

process.once('message', (config: ServerConfig) => {
  dieWithParent(config.parentPid);
  serve(new ForkLink(process), config.place).then(
    () => process.exit(0),
    () => process.exit(1), // the parent was told why
  );
});
process.on('disconnect', () => process.exit(0));
process.on('SIGINT', () => {}); // the parent decides
