// The lanes of a snapshot, and the edges of the graph that they make up.
//
// Invariant: pure. Every edge of the spec is there, whether anything came through it or not.
import { GATEWAY, type PlaceStatus, REQUEST, RESULT } from '../pipeline/index.js';
import { addLatencies, latencySince, type Percentiles, recentOr } from './percentiles.js';
import type { Rates } from './rates.js';
import { hopsFrom, placesOf, type SnapshotInput, sameLink, samePlace, stageOf } from './sample.js';

/** All lanes from one stage to another. The request comes from `request`; results go to `result`. */
export interface EdgeView {
  readonly from: string;
  readonly to: string;
  readonly messagesPerSecond: number | null;
  readonly bytesPerSecond: number | null;
  readonly hop: Percentiles | undefined;
  readonly unacknowledged: number;
  readonly backlog: number;
}

export interface LaneView {
  readonly from: string;
  readonly to: string;
  readonly connected: boolean;
  readonly messagesPerSecond: number | null;
  readonly bytesPerSecond: number | null;
  readonly unacknowledged: number;
  readonly backlog: number;
  readonly oldestMs: number;
  readonly stalledBy: string | undefined;
}

/** Every lane. */
export function lanesOf({ now, before }: SnapshotInput, rates: Rates): LaneView[] {
  return placesOf(now.status).flatMap((place) => {
    const earlier = samePlace(place, before?.status);
    return place.links.map((link): LaneView => {
      const { outbox, target, backlog, unacknowledged } = link;
      const counters = sameLink(link, earlier)?.outbox.counters;
      return {
        from: place.name,
        to: target,
        connected: outbox.connected,
        messagesPerSecond: rates.of(outbox.counters.messages, counters?.messages),
        bytesPerSecond: rates.of(outbox.counters.bytes, counters?.bytes),
        unacknowledged,
        backlog,
        oldestMs: outbox.oldestUnacknowledgedMs,
        stalledBy: outbox.stalledBy,
      };
    });
  });
}

/** Every edge. */
export function edgesOf(
  { spec, now, minuteBefore }: SnapshotInput,
  lanes: readonly LaneView[],
  rates: Rates,
): EdgeView[] {
  const followed = new Set(spec.stages.flatMap(({ after }) => after));
  const edges = spec.stages.flatMap(({ name, after }) => after.map((from) => ({ from, to: name })));
  for (const { name } of spec.stages) if (!followed.has(name)) edges.push({ from: name, to: RESULT });
  return edges.map(({ from, to }) => {
    const source = from === REQUEST ? GATEWAY : from;
    const target = to === RESULT ? GATEWAY : to;
    const own = lanes.filter((lane) => stageOf(lane.from) === source && stageOf(lane.to) === target);
    const ends: PlaceStatus[] = placesOf(now.status).filter(({ name }) => stageOf(name) === target);
    const since = ends.map((place) =>
      latencySince(hopsFrom(place, from), hopsFrom(samePlace(place, minuteBefore?.status), from)),
    );
    const all = addLatencies(ends.map((place) => hopsFrom(place, from)));
    const sum = (pick: (lane: LaneView) => number) => own.reduce((total, lane) => total + pick(lane), 0);
    return {
      from,
      to,
      messagesPerSecond: rates.ms === null ? null : sum((lane) => lane.messagesPerSecond ?? 0),
      bytesPerSecond: rates.ms === null ? null : sum((lane) => lane.bytesPerSecond ?? 0),
      hop: recentOr(addLatencies(since), all, minuteBefore !== undefined),
      unacknowledged: sum((lane) => lane.unacknowledged),
      backlog: sum((lane) => lane.backlog),
    };
  });
}
