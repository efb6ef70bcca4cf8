// Proves: mpi4py, with pickled NumPy arrays, has every shape and leaves nothing behind.
import { provePeer } from './peer-proof.js';

provePeer('mpi4py', /^mpi4py \d.*NumPy \d.*Open MPI \d/);
