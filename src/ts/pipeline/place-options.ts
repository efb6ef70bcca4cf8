// What a place is given, what it tells its owner, and what it says of itself.
import type { Secret } from '../core/secret.js';
import type { InboxStatus, MemoryPoolStatus, Poller, PollerStatus } from '../ring/index.js';
import type { JoinedInputs } from './join.js';
import type { RdmaError } from '../core/errors.js';
import type { PlaceSizes } from './lane-sizes.js';
import type { LatencyStatus } from './latency.js';
import type { LinkStatus } from './links.js';
import type { PlaceAddress } from './place-address.js';
import type { PlaceId, Plan } from './plan.js';
import type { PipelinePort } from './port.js';
import type { Graph } from './routing.js';

/** What every place has to know. */
export interface PlaceOptions {
  port: PipelinePort;
  graph: Graph;
  self: PlaceId;
  /** Which process in this place it is: larger than that of every one before it, 1 to 2^32 - 1. */
  incarnation: number;
  plan: Plan;
  /** Plans before that one whose requests may be under way still; default none. Their messages may come at once. */
  olderPlans?: readonly Plan[];
  /** Name of the device, or an opened one of the port: memory for outputs is taken there. */
  device: unknown;
  /** More devices, the one to prefer first: it listens on all of them, and sends by whichever reaches the target. */
  otherDevices?: readonly unknown[];
  /** The address of this host that other hosts reach; default 127.0.0.1: they cannot. */
  listenHost?: string | undefined;
  /** A target is reached by another device than before, or for the first time, or by none. */
  onVia?: ((target: string) => void) | undefined;
  secret: string | Secret<string>;
  /** How long to poll after something came, in microseconds; see PollerOptions. */
  pollUs: number;
  /** The loop of this process, of the clock of `port`, where others have a share in it; default: one of its own. */
  poller?: Poller | undefined;
  /** How long a place that this one sends to may not answer at its address, in ms. */
  reconnectMs: number;
  resolve: (target: string) => PlaceAddress | Promise<PlaceAddress>;
  /** What differs from the usual sizes of the device. */
  sizes?: Partial<PlaceSizes> | undefined;
  /** A defect that a test plants, to see that the simulation finds it. */
  flaw?: string | undefined;
}

/** What a place asks of the gateway or stage instance above it. */
export interface PlaceOwner {
  /** All inputs of a task are here. */
  onComplete(joined: JoinedInputs): void;
  /** More of a stream has come that a task reads, or will. */
  onPieces(joined: JoinedInputs): void;
  /** A note to a gateway. */
  onNote(kind: number, bytes: Uint8Array, view: DataView): void;
  /** Inputs wait for others for a second already: asked again each second. */
  onIncomplete(joined: JoinedInputs): void;
  /** An input cannot be read, though its sender lives. */
  onUnreadable(joined: JoinedInputs, reason: RdmaError): void;
  /** The place cannot go on. */
  onFailed(reason: RdmaError): void;
}

/** Answered by `Place.status`. Computed at each call; not for hot loops. */
export interface PlaceStatus {
  readonly name: string;
  readonly incarnation: number;
  /** Numbers of the plans that it works under. */
  readonly plans: readonly number[];
  /** Requests that are here: incomplete, waiting, running or sent on and not acknowledged. */
  readonly open: number;
  readonly incomplete: number;
  /** Messages of plans that are not known here yet. */
  readonly early: number;
  /** Outputs that were announced to places which slept, since the start. */
  readonly announced: number;
  /** How long inputs were under way since the start, by the stage (or `request`) that they came from. */
  readonly hops: Readonly<Record<string, LatencyStatus>>;
  readonly links: readonly LinkStatus[];
  readonly inbox: InboxStatus | undefined;
  readonly poller: PollerStatus;
  readonly pool: MemoryPoolStatus;
  /** Of its other devices, by name. */
  readonly others: Readonly<Record<string, { inbox: InboxStatus | undefined; pool: MemoryPoolStatus }>>;
}
