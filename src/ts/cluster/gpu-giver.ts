// The grants of GPUs by the leading controller, remembered in the store.
//
// Invariant: every grant is in the store before a plan uses it, so the next leader gives the same and goes on from
// there. If no stage that is scaled by load needs a GPU, it reads and writes nothing.
import { isDeepStrictEqual } from 'node:util';
import { invalidArgument, checkObject } from '../core/validate.js';
import { type ControlPort, type ControlStore, type Json, type Leadership, readFenced } from '../control/index.js';
import { type GpuMovePolicy, type GpuStageState, type GpuState, NO_GPU_STATE } from '../planner/policies.js';
import type { ClusterEvents } from './cluster-events.js';
import { type App, asJson, readOrRefuse } from './cluster-records.js';
import { demandsOf, type GpuWorld } from './gpu-demand.js';
import { giveGpus, type Giving, gpuWords, limited, shortOf } from './gpu-giving.js';
import type { KnownApp } from './reconcile.js';
import { versionOf } from './release-records.js';
import type { Troubles } from './troubles.js';

/** The record of what each stage was given. */
export const GPUS = 'gpus.given';

export interface GpuGiverOptions {
  /** false: placement alone decides who has GPUs. */
  readonly policy: GpuMovePolicy | false;
  readonly port: ControlPort;
  readonly events: ClusterEvents;
  readonly troubles: Troubles;
}

/** `gpus.given`, written by the controller that leads. */
interface GpuRecord {
  /** On the clock of the policy: it goes on from leader to leader. */
  readonly atMs: number;
  readonly state: GpuState;
}

interface Remembered {
  readonly state: GpuState;
  /** The clock of the policy is that much ahead of this process's monotonic one. */
  readonly aheadMs: number;
  readonly revision: number;
}

export class GpuGiver {
  private remembered: Remembered | undefined; // while it leads

  constructor(
    private readonly store: ControlStore,
    private readonly options: GpuGiverOptions,
  ) {}

  /** What another leader may have written since is read again. */
  reset(): void {
    this.remembered = undefined;
  }

  /** How many instances of each stage an app may have, by stage; undefined: as many as it wants. */
  limitsOf(app: App): Readonly<Record<string, number>> | undefined {
    return this.remembered === undefined ? undefined : limited(app, this.remembered.state).wanted;
  }

  /** Whether it would decide anything new now. */
  isDue(world: GpuWorld): boolean {
    const { policy } = this.options;
    if (policy === false) return false;
    if (this.remembered !== undefined) return this.changes(this.giving(world, policy, this.remembered));
    return demandsOf(world, NO_GPU_STATE, policy.horizonMs).length > 0;
  }

  /**
   * Decides, and writes what is new.
   *
   * @returns the apps, which want no more than they may have
   * @throws those of the store, and of a leadership that is over; then nothing is given
   */
  async limit(world: GpuWorld, leadership: Leadership): Promise<readonly KnownApp[]> {
    const { policy } = this.options;
    if (policy === false) return world.apps;
    if (this.remembered === undefined && demandsOf(world, NO_GPU_STATE, policy.horizonMs).length === 0) {
      return world.apps;
    }
    this.remembered ??= await this.read(leadership);
    const giving = this.giving(world, policy, this.remembered);
    if (this.changes(giving)) await this.keep(giving, leadership);
    const { state } = this.remembered;
    return world.apps.map((known) => {
      const app = limited(known.app, state);
      return app === known.app ? known : { ...known, app, short: shortOf(known.app, state) };
    });
  }

  private giving(world: GpuWorld, policy: GpuMovePolicy, { state, aheadMs }: Remembered): Giving {
    return giveGpus(world, policy, this.options.port.timers.now() + aheadMs, state);
  }

  private changes({ state }: Giving): boolean {
    return !isDeepStrictEqual(state, this.remembered!.state);
  }

  private async keep({ state, events }: Giving, leadership: Leadership): Promise<void> {
    const { aheadMs, revision: expected } = this.remembered!;
    const record: GpuRecord = { atMs: this.options.port.timers.now() + aheadMs, state };
    try {
      const revision = await leadership.put(GPUS, asJson(record), { expected });
      this.remembered = { state, aheadMs, revision };
    } catch (error) {
      // Whether it was written is not known: what the store has now is read again.
      this.remembered = undefined;
      throw error;
    }
    for (const event of events) {
      const names = event.decision.moves.flatMap(({ to }) => (to === null ? [] : [to.split('/')[0]!]));
      const apps = new Set(names.map((name) => versionOf(name)?.app ?? name));
      const [app = ''] = apps.size === 1 ? apps : [];
      void this.options.events.append({ app, type: 'gpus', words: gpuWords(event), inputs: event });
    }
  }

  private async read(leadership: Leadership): Promise<Remembered> {
    const { port, troubles } = this.options;
    const entry = await this.store.get(GPUS);
    const nowMs = port.timers.now();
    if (entry === undefined) return { state: NO_GPU_STATE, aheadMs: 0, revision: 0 };
    const { revision } = entry;
    try {
      const { atMs, state } = readOrRefuse(GPUS, () => checkRecord(readFenced(entry).value));
      return { state, aheadMs: atMs - nowMs, revision };
    } catch (error) {
      troubles.add(GPUS, error); // it starts from nothing
      leadership.check();
      await this.store.delete(GPUS, revision);
      return { state: NO_GPU_STATE, aheadMs: 0, revision: 0 };
    }
  }
}

function checkRecord(value: Json): GpuRecord {
  const { atMs, state } = checkObject<GpuRecord>('what was given', value);
  const { stages, moves } = checkObject<GpuState>('state', state);
  const isMs = (ms: unknown) => Number.isFinite(ms);
  if (!isMs(atMs)) throw invalidArgument('atMs', atMs, 'a number of ms');
  if (!Array.isArray(moves) || !moves.every(isMs)) throw invalidArgument('moves', moves, 'a list of ms');
  for (const [name, each] of Object.entries(checkObject<GpuState['stages']>('stages', stages))) {
    const { granted, movedMs, failed } = checkObject<GpuStageState>(name, each);
    const isCount = granted === null || (Number.isSafeInteger(granted) && granted >= 0);
    const hasFailed = failed !== null && !(isMs(failed?.atMs) && Number.isSafeInteger(failed?.count));
    if (!isCount || (movedMs !== null && !isMs(movedMs)) || hasFailed) {
      throw invalidArgument(name, each, 'what a stage was given');
    }
  }
  return { atMs, state };
}
