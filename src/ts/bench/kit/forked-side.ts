// The process that a benchmark forks as its other side, and talks to over a link.
//
// Invariant: it ends with its parent, however that ends; the code that it runs reports errors to the parent.
import { dieWithParent } from '../../verbs/process.js';
import { ForkLink } from './link.js';

/** The first message to the process. */
export interface SideConfig {
  parentPid: number;
}

/**
 * Runs the other side: in the forked process, from its first message on.
 *
 * @param serve serves until the parent asks it to end
 */
export function serveForked<Config extends SideConfig>(serve: (link: ForkLink, config: Config) => Promise<void>): void {
  process.once('message', (config: Config) => {
    dieWithParent(config.parentPid);
    serve(new ForkLink(process), config).then(
      () => process.exit(0),
      () => process.exit(1), // the parent knows why
    );
  });
  process.on('disconnect', () => process.exit(0));
  process.on('SIGINT', () => {}); // the parent decides
}
