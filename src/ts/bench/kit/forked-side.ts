// The process that a benchmark forks as its other side, and talks to over a link.
//
// Invariant: it ends with its parent, however that ends; what goes wrong in it is told to the parent by what it runs.
import { dieWithParent } from '../../verbs/process.js';
import { ForkLink } from './link.js';

/** What the process is told first. */
export interface SideConfig {
  parentPid: number;
}

/**
 * Runs the other side: in the forked process, from its first message on.
 *
 * @param serve until it is told to end
 */
export function serveForked<Config extends SideConfig>(serve: (link: ForkLink, config: Config) => Promise<void>): void {
  process.once('message', (config: Config) => {
    dieWithParent(config.parentPid);
    serve(new ForkLink(process), config).then(
      () => process.exit(0),
      () => process.exit(1), // the parent was told why
    );
  });
  process.on('disconnect', () => process.exit(0));
  process.on('SIGINT', () => {}); // the parent decides
}
