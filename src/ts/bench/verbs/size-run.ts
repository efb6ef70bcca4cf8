// The loops of one size, on one side.
//
// Invariant: made on both sides before either begins; receives are there before anybody sends.
import { Bandwidth, ReceiveOnly } from './bandwidth.js';
import type { LatencyLoop } from './latency-loop.js';
import { RoundTripLatency } from './round-trip-latency.js';
import type { Receives } from './receives.js';
import { SendLatency } from './send-latency.js';
import { isLatency, type VerbsSettings, verbOf } from './settings.js';
import type { Side } from './side.js';
import { WriteLatency } from './write-latency.js';

/** What this side does for a size: a loop of one kind, or nothing. */
export interface SizeRun {
  latency?: LatencyLoop;
  bandwidth?: Bandwidth;
  receiver?: ReceiveOnly;
}

/**
 * @param receives of send-lat and send-bw
 * @param isClient the client begins, and measures
 */
export function sizeRun(
  side: Side,
  settings: VerbsSettings,
  receives: Receives | undefined,
  sizeBytes: number,
  isClient: boolean,
): SizeRun {
  const { test, bidirectional, events } = settings;
  if (isLatency(test)) {
    if (test === 'write-lat') return { latency: new WriteLatency(side, settings, sizeBytes, isClient) };
    if (test === 'send-lat') return { latency: new SendLatency(side, receives!, settings, sizeBytes, isClient) };
    return isClient ? { latency: new RoundTripLatency(side, settings, sizeBytes) } : {};
  }
  if (isClient || bidirectional) {
    return { bandwidth: new Bandwidth(side, settings, sizeBytes, bidirectional ? receives : undefined) };
  }
  return verbOf(test) === 'send' ? { receiver: new ReceiveOnly(receives!, events) } : {};
}
