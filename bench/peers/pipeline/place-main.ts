// The process of one place of a peer in Node.js.
//
// Invariant: obeys the process that forked it, and ends with it.
import { serveParent } from '../../../src/ts/bench/kit/partner.js';
import type { Dialer, MessengerContext, Pieces } from '../messengers/messenger.js';
import { messengerOf } from '../messengers/messengers.js';
import { PlaceWork } from './place.js';
import type { Shape } from '../../../src/ts/bench/pipeline/shape.js';

export type PlaceRequest =
  /** The contexts of the edges that end here, in the order of the place's inputs. */
  | { do: 'listen'; messenger: string; inputs: MessengerContext[] }
  /** The contexts of the edges that begin here. */
  | { do: 'connect'; messenger: string; shape: Shape; place: string; sizeBytes: number; outputs: MessengerContext[] };

let work: PlaceWork | undefined;

serveParent<PlaceRequest>(async (request) => {
  const messenger = messengerOf(request.messenger);
  if (request.do === 'listen') {
    for (const [input, context] of request.inputs.entries()) {
      await messenger.listen(context, (message: Pieces) => work!.take(input, message));
    }
    return {};
  }
  const outputs: Dialer[] = [];
  for (const context of request.outputs) outputs.push(await messenger.dial(context, 0, () => {}));
  work = new PlaceWork(request.shape, request.place, request.sizeBytes, outputs);
  return {};
});
