// Proves: Open MPI in C has every shape, checks its results, and its absence is said.
import t from 'tap';
import { pipelinePeersNamed } from '../../../bench/peers/pipeline/peers.js';
import { provePeer, proveStreams } from './peer-proof.js';

provePeer('openmpi', /^Open MPI \d/);
proveStreams('openmpi');

void t.test('where Open MPI is not installed the packages are named, for C and for Python', async (t) => {
  const path = process.env.PATH;
  t.teardown(() => {
    process.env.PATH = path;
  });
  process.env.PATH = '/nonexistent';
  const [c, python] = pipelinePeersNamed(['openmpi', 'mpi4py']);
  for (const peer of [c!, python!]) {
    t.throws(() => peer.check(), { code: 'RDMA_ERR_INVALID_ARGUMENT', remedy: /apt-get install .*openmpi-bin/ });
  }
});
