// The defects that are planted in pipelines, to see that the simulation finds them.
//
// Invariant: each is a small change of one rule that the pipeline rests on. What of it can be seen is known beforehand.
import type { Connection } from '../../src/ts/ring/connection.js';
import { OutboxLink } from '../../src/ts/ring/outbox-link.js';
import { type BatchShape, type PipelineShape, PLAIN_REQUEST, PLAIN_STAGE } from './pipeline-shape.js';
import { plant } from './plant.js';

/** A new connection begins behind what any connection before it has written. */
export const writeOnlyNew = () =>
  plant(
    OutboxLink.prototype,
    'begin',
    (original) =>
      function (this: { reached: OutboxLink['reached'] }, connection: { placement: Connection['placement'] }) {
        connection.placement.sent = this.reached;
        return original.call(this as never, connection as never);
      },
  );

export interface PlantedDefect {
  name: string;
  /** Value of PlaceOptions.flaw. */
  flaw?: string;
  /** Puts it elsewhere; answers how to take it back. */
  plant?: () => () => void;
  /** Where the shapes of seeds would meet it too seldom. */
  shape?: Partial<PipelineShape>;
  /** What is seen of it. */
  seen: RegExp;
}

const busy = { ...PLAIN_STAGE, busyMs: 5 };
/** A stage that takes batches, in front of another one. */
const batches = (batch: Partial<BatchShape> = {}) => [
  { ...busy, batch: { size: 3, waitMs: 2, keys: 1, polls: false, ...batch } },
  { ...busy, after: [0] },
];
const many = Array.from({ length: 8 }, () => PLAIN_REQUEST);
const quiet = { residentRequests: 8, faults: [], faultCount: 0 };

const several = [0, 0, 1, 2, 5].map((atMs) => ({ ...PLAIN_REQUEST, atMs }));

/** Two ways of the request that come together, the second of them through two routed instances. */
const twoWays = [
  { ...busy, after: [-1], instances: 2 },
  { ...busy, after: [0] },
  { ...busy, after: [0], instances: 2 },
  { ...busy, after: [-1, 1, 2] },
];

const crashes: Partial<PipelineShape> = {
  stages: twoWays,
  requests: several,
  faults: ['crash', 'replace'],
  faultCount: 3,
};

/** Two ways on which pieces come together, read as they come and all at once. */
const streams: Partial<PipelineShape> = {
  stages: [
    { ...busy, pieces: 4, instances: 2 },
    { ...busy, after: [0], pieces: 4, streams: [0], listens: true },
    { ...busy, after: [0, 1], streams: [0, 1], listens: true },
    { ...busy, after: [1, 2], pieces: 2 },
  ],
  requests: several.map((request) => ({ ...request, hears: true })),
  faults: ['crash', 'replace'],
  faultCount: 3,
};

export const PLANTED: readonly PlantedDefect[] = [
  {
    name: 'a stage acknowledges its inputs before its output was acknowledged',
    flaw: 'early-acknowledgement',
    shape: crashes,
    seen: /^deadlock/,
  },
  {
    name: 'what was not acknowledged is not sent again to the next process',
    plant: writeOnlyNew,
    shape: crashes,
    seen: /^deadlock/,
  },
  {
    name: 'what takes long is not sent once more',
    flaw: 'no-refresh',
    // The input of a request that takes long before it fails, in front of many that fail at once.
    shape: {
      stages: [
        { ...PLAIN_STAGE, concurrency: 2, busyMs: 200 },
        { ...PLAIN_STAGE, after: [-1, 0] },
      ],
      requests: Array.from({ length: 16 }, () => ({
        ...PLAIN_REQUEST,
        fails: { stage: 0, always: true, how: 'throws' as const },
      })),
      residentRequests: 2,
      maxInFlight: 16,
      faults: [],
      faultCount: 0,
    },
    seen: /^deadlock/,
  },
  {
    name: 'a join takes inputs of two attempts',
    flaw: 'mixed-attempts',
    shape: { stages: twoWays, requests: several, faults: ['give-up'], faultCount: 1 },
    seen: /does not send to this place|has a run of attempt|mixes two runs|^deadlock/,
  },
  {
    name: 'a join keeps an input when a newer run has made it again',
    flaw: 'mixed-runs',
    shape: crashes,
    seen: /^deadlock/,
  },
  {
    name: 'a place waits for other senders than those that send',
    flaw: 'wrong-inverse',
    shape: { stages: twoWays, requests: several, faults: [], faultCount: 0 },
    seen: /does not send to this place|has no input from/,
  },
  {
    name: 'a plan is retired while requests are under way',
    flaw: 'early-retirement',
    shape: { stages: twoWays, requests: several, faults: ['scale-up', 'scale-down'], faultCount: 2 },
    seen: /has retired plan/,
  },
  {
    name: 'nobody asks for what stays incomplete',
    flaw: 'no-asking',
    shape: { ...crashes, requests: several, faults: ['crash'], faultCount: 4 },
    seen: /^deadlock: (s\d\/\d|gateway\/0) has \d+ open requests/,
  },
  {
    name: 'a block is given back before it was acknowledged',
    flaw: 'early-release',
    shape: {
      stages: twoWays.map((stage) => ({ ...stage, bytes: [1500, 2500] })),
      requests: several.map((request) => ({ ...request, bytes: 2000 })),
      faults: [],
      faultCount: 0,
    },
    seen: /mixes two runs|has other bytes than were sent|has a run of request|has not \d runs/,
  },
  {
    name: 'a stream goes on with the pieces of another run of its stage',
    flaw: 'mixed-pieces',
    shape: streams,
    seen: /mixes two runs|of \d pieces|^deadlock|has failed/,
  },
  {
    name: 'a piece that comes while the task runs is lost',
    flaw: 'lost-piece',
    shape: streams,
    seen: /^deadlock/,
  },
  {
    name: 'a piece is acknowledged when it comes',
    flaw: 'early-piece',
    shape: { ...streams, stages: streams.stages!.map((stage) => ({ ...stage, bytes: [1100, 1500] })) },
    seen: /^deadlock|has other bytes|cannot be read/,
  },
  {
    name: 'a task goes on when a stage whose pieces it reads begins again',
    flaw: 'no-start-over',
    shape: streams,
    seen: /mixes two runs|of \d pieces|^deadlock|has failed/,
  },
  {
    name: 'a batch answers a task with the output of another one',
    flaw: 'swapped-outputs',
    shape: { stages: batches(), requests: many, ...quiet },
    seen: /has a run of request|is that of request/,
  },
  {
    name: 'a batch brings tasks of two keys together',
    flaw: 'mixed-keys',
    shape: { stages: batches({ keys: 2 }), requests: many, ...quiet },
    seen: /has the keys 0 and 1|has the keys 1 and 0/,
  },
  {
    name: 'a running batch takes up more tasks than it has room for',
    flaw: 'overfull-batch',
    shape: { stages: batches({ polls: true }), requests: many, ...quiet },
    seen: /a batch of s0 has \d tasks/,
  },
  {
    name: 'a task that fails ends all tasks of its batch',
    flaw: 'one-ends-all',
    shape: {
      stages: batches(),
      requests: [...many.slice(1), { ...PLAIN_REQUEST, fails: { stage: 0, always: true, how: 'throws' as const } }],
      ...quiet,
    },
    seen: /has failed: .*asked to fail/,
  },
];
