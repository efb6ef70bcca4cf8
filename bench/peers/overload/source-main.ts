// The process that overloads one peer.
//
// Invariant: as the one that overloads our own pipeline: see src/ts/bench/overload/source-main.ts.
import { overload, warmUp } from '../../../src/ts/bench/overload/load.js';
import { serveParent } from '../../../src/ts/bench/kit/partner.js';
import { overloadServerOf, type PeerLoadRequest } from './peers.js';

serveParent<PeerLoadRequest>(async ({ peer, settings, capacityPerSecond, factor, folder }) => {
  const subject = await overloadServerOf(peer).open({ settings, capacityPerSecond, folder });
  try {
    await warmUp(subject, settings);
    return await overload(subject, settings, capacityPerSecond, factor);
  } finally {
    await subject.close();
  }
});
