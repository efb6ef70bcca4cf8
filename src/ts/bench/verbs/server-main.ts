// The process that a benchmark forks as its other side.
//
// Invariant: see kit/forked-side.ts.
import { serveForked, type SideConfig } from '../kit/forked-side.js';
import { serve } from './server.js';
import type { Place } from './side.js';

/** The first message to the process. */
export interface ServerConfig extends SideConfig {
  place: Place;
}

serveForked<ServerConfig>((link, { place }) => serve(link, place));
