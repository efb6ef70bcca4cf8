// The process that makes the requests of one measurement: of our own pipeline, or of a peer.
//
// Invariant: a process for each measurement, so that nobody starts with what another one has left in a queue, and who
// offers ten times the capacity to one slows down no other. Everything that it opened is closed before it answers.
import { mkdir } from 'node:fs/promises';
import { serveParent } from '../partner.js';
import { cancels } from './cancel.js';
import { saturate } from './generator.js';
import { hung } from './hung.js';
import { overload, twoTenants, WARM_UP_MS, warmUp } from './load.js';
import { clientsOf, LocalSubject } from './local-subject.js';
import { overloadPeerOf } from './peers.js';
import { retries } from './retry.js';
import type { OverloadSettings, OverloadTest } from './settings.js';
import type { OverloadSubject } from './subject.js';

/** One measurement; `capacity` is the first. */
export interface SourceRequest {
  do: OverloadTest | 'capacity';
  /** null: our own pipeline; a peer knows `capacity` and `load`. */
  peer: string | null;
  settings: OverloadSettings;
  /** 100 %, of our own pipeline; undefined: it is what is measured. */
  capacityPerSecond?: number;
  /** Of `load`. */
  factor?: number;
  /** For sockets of a peer. */
  folder: string;
}

serveParent<SourceRequest>(async ({ do: what, peer, settings, capacityPerSecond, factor = 1, folder }) => {
  await mkdir(folder, { recursive: true });
  const subject: OverloadSubject =
    peer === null
      ? await LocalSubject.open(settings)
      : await overloadPeerOf(peer).open({ settings, capacityPerSecond, folder });
  try {
    if (what === 'capacity') {
      return { perSecond: await saturate(subject, settings, clientsOf(settings), WARM_UP_MS, settings.seconds) };
    }
    await warmUp(subject, settings);
    const capacity = capacityPerSecond!;
    if (what === 'load') return await overload(subject, settings, capacity, factor);
    if (!(subject instanceof LocalSubject)) throw new Error(`${peer} is measured under load only`);
    if (what === 'retry') return await retries(subject, settings, capacity);
    if (what === 'cancel') return await cancels(subject);
    if (what === 'hung') return await hung(subject, settings, capacity);
    return await twoTenants(subject, settings, capacity);
  } finally {
    await subject.close();
  }
});
