// What drives the completions of an inbox or outbox: the poller that it shares with others, or a pump of its own.
import type { Poller } from './poller.js';
import type { MemberParts } from './poller-member.js';
import { type CompletionDriver, Pump, type WaitMode } from './pump.js';

/**
 * Opens the completion queue of an inbox or outbox, and what drives it.
 *
 * @param wait how it waits, where there is no poller
 * @param poller undefined: there is none
 * @throws what the device throws
 */
export function openDriver(parts: MemberParts, wait: WaitMode, poller: Poller | undefined): CompletionDriver {
  const { device, clock, capacity, drain, beforeSleep } = parts;
  return poller?.join(parts) ?? new Pump(device, clock, capacity, wait, () => drain(1), beforeSleep);
}
