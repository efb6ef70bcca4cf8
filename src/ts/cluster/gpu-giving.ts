// The division of GPUs among stages if there are not enough for all.
//
// Invariant: pure. A stage gets more only if placement can use it: no stage loses a GPU that the other one cannot use.
// Dividing again changes nothing.
import { isDeepStrictEqual } from 'node:util';
import {
  allowedOf,
  decideGpus,
  type GpuDemand,
  type GpuEvent,
  type GpuMovePolicy,
  type GpuState,
  place,
} from '../planner/policies.js';
import { demandsOf, type GpuWorld, stageKey } from './gpu-demand.js';
import { type KnownApp, placementsOf } from './reconcile.js';
import { NO_PLAN } from './cluster-records.js';
import { scaledStages } from './scale-feed.js';

/** How often a decision is made again without what was found not to fit. */
const MOST_TRIES = 8;

/** What was decided for all GPUs. */
export interface Giving {
  /** To be kept for the next call. */
  readonly state: GpuState;
  /** Decisions that change what a stage may have. */
  readonly events: readonly GpuEvent[];
}

/** Decides for all GPUs. @param nowMs on the clock of the policy, which goes on from leader to leader */
export function giveGpus(world: GpuWorld, policy: GpuMovePolicy, nowMs: number, before: GpuState): Giving {
  let state: GpuState = { stages: {}, moves: before.moves };
  const events: GpuEvent[] = [];
  for (const demand of demandsOf(world, before, policy.horizonMs)) {
    const own = demand.stages.flatMap(({ stage }) => {
      const known = before.stages[stage];
      return known === undefined ? [] : [[stage, known] as const];
    });
    const event = fitting(world, demand, policy, nowMs, { stages: Object.fromEntries(own), moves: state.moves });
    const { stages, moves } = event.decision.state;
    if (event.decision.moves.length > 0 || !isDeepStrictEqual(stages, event.before.stages)) events.push(event);
    // Moves that are too old to count are forgotten with the next one.
    state = { stages: { ...state.stages, ...stages }, moves: event.decision.moves.length > 0 ? moves : state.moves };
  }
  return { state, events };
}

function fitting(world: GpuWorld, demand: GpuDemand, policy: GpuMovePolicy, nowMs: number, before: GpuState): GpuEvent {
  const blocked = new Set<string>();
  for (let tries = 1; ; tries++) {
    const event = decideGpus({ ...demand, blocked: [...blocked].sort() }, policy, nowMs, before);
    const { moves, state } = event.decision;
    const raised = demand.stages.filter(({ stage, has }) => {
      return (state.stages[stage]?.granted ?? 0) > (before.stages[stage]?.granted ?? has);
    });
    if (raised.length === 0 || tries > MOST_TRIES) return event;
    const short = shortWith(world, state);
    const found = raised.filter(({ stage }) => short.has(stage)).map(({ stage }) => stage);
    if (found.length === 0) return event;
    const last = blocked.size;
    for (const stage of found) {
      blocked.add(stage);
      for (const { to, givers } of moves) {
        if (to === stage) for (const giver of givers) blocked.add(`${giver.stage}>${stage}`);
      }
    }
    if (blocked.size === last) return event; // it is below its floor: placement says why
  }
}

// Stages for which placement would find no room, if all had what they may have.
function shortWith({ apps, nodes }: GpuWorld, state: GpuState): Set<string> {
  const { unplaced } = place({
    nodes: nodes.map(({ run: _, ...node }) => node),
    workflows: apps.map(({ app }) => {
      const { wanted } = limited(app, state);
      return { id: app.name, spec: app.spec, wanted: app.spec.stages.map(({ name }) => wanted[name]!) };
    }),
    previous: apps.flatMap(({ app, record }) => placementsOf(app, record ?? NO_PLAN)),
  });
  return new Set(unplaced.map(({ group }) => group));
}

/** An app that wants no more of the stages that its load scales than they may have. */
export function limited(app: KnownApp['app'], { stages }: GpuState): KnownApp['app'] {
  const scaled = scaledStages(app).map(({ name, scale }) => {
    const { granted } = stages[stageKey(app.name, name)] ?? { granted: null };
    return [name, allowedOf(app.wanted[name]!, scale!.min, granted)] as const;
  });
  return scaled.length === 0 ? app : { ...app, wanted: { ...app.wanted, ...Object.fromEntries(scaled) } };
}

/** What an app's stages want and may not have, in words. */
export function shortOf(app: KnownApp['app'], state: GpuState): string[] {
  const { wanted } = limited(app, state);
  return app.spec.stages.flatMap(({ name }) => {
    const [all, some] = [app.wanted[name]!, wanted[name]!];
    return some < all
      ? [`stage ${name} may have ${some} of the ${all} instances that its load needs: GPUs are short`]
      : [];
  });
}

/** A decision in a sentence, for people. */
export function gpuWords({ demand, decision: { moves, state } }: GpuEvent): string {
  const told = moves.map(({ reason, to, givers, gain, loss }) => {
    const from = givers.map(({ stage, instances }) => `${stage} gives ${instances}`).join(', ');
    if (reason === 'lost') return `${from}: there are fewer GPUs`;
    if (reason === 'share') return `${from} for ${to}, which is late with less than its fair share`;
    if (reason === 'least') return `${from} for ${to}, which has too few to work`;
    return `${from} for ${to}: ${percent(gain)} more of its tasks in time, ${percent(loss)} fewer of the others'`;
  });
  const short = demand.stages.flatMap(({ stage, wanted, load }) => {
    const granted = state.stages[stage]?.granted ?? wanted;
    return granted < wanted && load !== null ? [`${stage} may have ${granted} of ${wanted}`] : [];
  });
  const gpus = `${demand.gpus} ${demand.gpus === 1 ? 'GPU' : 'GPUs'}`;
  const rest = short.length === 0 ? `${gpus} are enough` : `${short.join(', ')}, as there are ${gpus}`;
  return [...told, rest].join('; ');
}

const percent = (part: number): string => `${(100 * part).toFixed(1)} %`;
