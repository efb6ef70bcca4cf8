// The other process of a ring benchmark: answers messages (ring-lat), or sends as fast as it can (the others).
//
// Invariant: obeys the process that forked it, and ends with it.
import type { Until } from './reader.js';
import { serveParent } from '../kit/partner.js';
import { Echo } from './echo.js';
import { Flood } from './flood.js';
import type { RingPlace } from './link.js';

export type RingRequest =
  | { do: 'echo'; place: RingPlace; port: number }
  | { do: 'connect'; port: number }
  /** From now on: read every byte or not; remember how long the next `record` messages took to write. */
  | { do: 'rounds'; until: Until; record: number }
  | { do: 'writes' }
  | { do: 'flood'; place: RingPlace; port: number; name: string; alone: boolean }
  | { do: 'start' }
  | { do: 'stop' };

let echo: Echo | undefined;
let flood: Flood | undefined;

serveParent<RingRequest>(async (request) => {
  switch (request.do) {
    case 'echo':
      echo = await Echo.open(request.place);
      return { port: echo.port };
    case 'connect':
      await echo!.connect(request.port);
      return {};
    case 'rounds':
      echo!.rounds(request.until, request.record);
      return {};
    case 'writes':
      return { writes: echo!.writes };
    case 'flood':
      flood = await Flood.open(request.place, request.port, request.name, request.alone);
      return {};
    case 'start':
      flood!.start();
      return {};
    case 'stop':
      await flood!.stop();
      return {};
  }
});
