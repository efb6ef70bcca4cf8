// The process that `bench device` forks as its other side.
//
// Invariant: see kit/forked-side.ts; if it cannot serve, its parent learns why.
import { RdmaError } from '../../core/errors.js';
import { serveForked, type SideConfig } from '../kit/forked-side.js';
import { Target } from './target.js';

/** The first message to the process. */
export interface TargetConfig extends SideConfig {
  device: string;
}

serveForked<TargetConfig>(async (link, { device }) => {
  let target: Target | undefined;
  try {
    target = new Target(device, link);
    await target.serve();
  } catch (error) {
    const known = error instanceof RdmaError ? error : new RdmaError('RDMA_ERR_PROTOCOL', String(error));
    await link.send({ do: 'error', error: known.toJSON() }).catch(() => {});
    throw error;
  } finally {
    target?.close();
  }
});
