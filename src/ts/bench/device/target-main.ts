// The process that `bench device` forks as its other side.
//
// Invariant: ends with its parent, however that ends.
import { RdmaError } from '../../core/errors.js';
import { dieWithParent } from '../../verbs/process.js';
import { ForkLink } from '../kit/link.js';
import { Target } from './target.js';

/** What the process is told first. */
export interface TargetConfig {
  parentPid: number;
  device: string;
}

async function main(config: TargetConfig): Promise<void> {
  dieWithParent(config.parentPid);
  const link = new ForkLink(process);
  let target: Target | undefined;
  try {
    target = new Target(config.device, link);
    await target.serve();
  } catch (error) {
    const known = error instanceof RdmaError ? error : new RdmaError('RDMA_ERR_PROTOCOL', String(error));
    await link.send({ do: 'error', error: known.toJSON() }).catch(() => {});
    throw error;
  } finally {
    target?.close();
  }
}

process.once('message', (config: TargetConfig) => {
  main(config).then(
    () => process.exit(0),
    () => process.exit(1), // the parent was told why
  );
});
process.on('disconnect', () => process.exit(0));
process.on('SIGINT', () => {}); // the parent decides
