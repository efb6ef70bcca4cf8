// Proves: gRPC, with a stream for each edge, has every shape and leaves nothing behind.
import { provePeer } from './peer-proof.js';

provePeer('grpc', /^@grpc\/grpc-js \d/);
