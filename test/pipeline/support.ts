// What the tests of pipelines share: waiting, and a pipeline whose places all live in this process.
//
// Invariant: every wait ends, by what is waited for or by an error that names it; and the state of a pipeline is what
// its status() says, so a test sees no more than an operator does.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Gateway,
  type GatewayOptions,
  graphOf,
  makePlan,
  type PlaceId,
  type PlaceOptions,
  type Plan,
  placeName,
  RdmaError,
  type StageEvent,
  StageInstance,
  type StageInstanceOptions,
  stageIndex,
  stagePlaces,
  systemPipelinePort,
  type TaskEvent,
  type Tensor,
  tensor,
  type Workflow,
  type PlaceAddress,
} from '../../src/ts/pipeline/index.js';
import { type Until, waiting } from '../until.js';

export const DEVICE = process.env.ONEPIECE_DEVICE ?? 'soft0';
export const SECRET = 'for the tests only';
const SLOW = DEVICE === 'soft0' ? 1 : 12;

const untilSlow = waiting({ limitMs: 10_000 });

/** Waits for `timeoutMs`, or for longer on a slow device. */
export const until: Until = (what, condition, timeoutMs = 10_000) => untilSlow(what, condition, timeoutMs * SLOW);

/** The promise, or an error that says what did not come. */
export function within<T>(what: string, promise: Promise<T>, timeoutMs = 20_000): Promise<T> {
  let timer: NodeJS.Timeout;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited too long for ${what}`)), timeoutMs * SLOW);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The code of the error with which a promise is rejected; `ok` when it is not. */
export function codeOf(promise: Promise<unknown>): Promise<string> {
  return within('an answer', promise).then(
    () => 'ok',
    (error: RdmaError) => error.code ?? String(error),
  );
}

/** The error with which a promise is rejected, as far as tests compare it. */
export async function failureOf(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await within('an answer', promise);
  } catch (error) {
    return { code: (error as RdmaError).code, message: (error as Error).message };
  }
  return { code: 'none', message: 'it did not fail' };
}

/** The address of a place that has one inbox, on the device of these tests. */
export function addressOf({ host, port }: { host: string; port: number }, hostname = 'here'): PlaceAddress {
  const { location } = systemPipelinePort;
  const kind = DEVICE === 'soft0' ? 'soft' : 'RoCE v2';
  const fabric = DEVICE === 'soft0' ? location.memory : '10.0.0.0/24';
  return { machine: location.machine, hostname, devices: [{ device: DEVICE, kind, fabric, host, port }] };
}

/** A promise with its resolve outside. */
export function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

export const bytes = (...values: number[]): Tensor => tensor('u8', [values.length], Uint8Array.from(values));

/** How a {@link Harness} is opened. */
export interface HarnessOptions {
  maxInFlight?: number;
  maxQueued?: number;
  maxQueuedBytes?: number;
  tenants?: GatewayOptions['tenants'];
  /** How many gateways send into the places. */
  gateways?: number;
  /** Gateways want to know what happens to requests. */
  watched?: boolean;
  /** See {@link Harness.where}. */
  where?: Harness['where'];
  /** What differs from the usual sizes of a place. */
  sizes?: PlaceOptions['sizes'];
}

/** A pipeline whose gateways and stage instances all live here. */
export class Harness {
  /** What the stage instances said, in order. */
  readonly events: { place: string; event: StageEvent }[] = [];
  /** The task events that the gateways got. */
  readonly told: TaskEvent[] = [];
  readonly failures: RdmaError[] = [];
  readonly stages = new Map<string, StageInstance>();
  readonly gateways: Gateway[] = [];
  plan: Plan;
  private readonly workflow: Workflow;
  private readonly routes = new Map<string, PlaceAddress>();
  private readonly incarnations = new Map<string, number>();
  private readonly common;

  private constructor(workflow: Workflow, gateways: number, sizes: PlaceOptions['sizes']) {
    this.workflow = workflow;
    const { spec } = workflow;
    const numbers = Array.from({ length: gateways }, (_, i) => i);
    const instances = spec.stages.map((stage) => Array.from({ length: stage.instances }, (_, i) => i));
    this.plan = makePlan(spec, 1, instances, numbers);
    this.common = {
      port: systemPipelinePort,
      graph: graphOf(spec),
      device: DEVICE,
      secret: SECRET,
      pollUs: 50,
      sizes,
      reconnectMs: 20_000,
      resolve: (target: string) => this.resolve(target),
      onFailed: (reason: RdmaError) => void this.failures.push(reason),
    };
  }

  static async open(workflow: Workflow, options: HarnessOptions = {}): Promise<Harness> {
    const { gateways = 1, maxInFlight = 64, maxQueued = 256, watched = false, sizes } = options;
    const { maxQueuedBytes, tenants } = options;
    const harness = new Harness(workflow, gateways, sizes);
    if (options.where !== undefined) harness.where = options.where;
    try {
      for (const instance of harness.plan.gateways) {
        const gateway = await Gateway.open({
          ...harness.common,
          ...harness.where(`gateway/${instance}`),
          self: { stage: -1, instance },
          incarnation: 1000 + instance,
          plan: harness.plan,
          maxInFlight,
          maxQueued,
          maxQueuedBytes,
          tenants,
          onTask: watched ? (event) => void harness.told.push(event) : undefined,
        });
        harness.gateways.push(gateway);
        harness.routes.set(`gateway/${instance}`, gateway.address);
      }
      for (const place of stagePlaces(harness.plan)) await harness.openStage(place, [harness.plan]);
      await Promise.all([...harness.stages.values()].map((stage) => stage.connect()));
      await Promise.all(harness.gateways.map((gateway) => gateway.connect()));
    } catch (error) {
      await harness.close();
      throw error;
    }
    return harness;
  }

  /** The only gateway, or the first. */
  get gateway(): Gateway {
    return this.gateways[0]!;
  }

  /** What the place of this name is opened with besides: where it runs, and on which devices. */
  where: (place: string) => Partial<PlaceOptions> = () => ({});

  /** What stage instances are opened with besides. */
  extra: Partial<StageInstanceOptions> = {};

  private resolve(target: string): PlaceAddress {
    const address = this.routes.get(target);
    if (address === undefined) throw new RdmaError('RDMA_ERR_PEER_GONE', `${target} is away`);
    return address;
  }

  private async openStage(self: PlaceId, plans: readonly Plan[]): Promise<StageInstance> {
    const { spec } = this.workflow;
    const place = placeName(spec, self);
    const incarnation = (this.incarnations.get(place) ?? 0) + 1;
    this.incarnations.set(place, incarnation);
    const [plan, ...olderPlans] = plans;
    const instance = await StageInstance.open({
      ...this.common,
      self,
      incarnation,
      plan: plan!,
      olderPlans,
      ...this.workflow.code(spec.stages[self.stage]!.name),
      onEvent: (event) => void this.events.push({ place, event }),
      ...this.where(place),
      ...this.extra,
    });
    this.stages.set(place, instance);
    this.routes.set(place, instance.address);
    return instance;
  }

  private placeOf(place: string): PlaceId {
    const [stage = '', instance = '0'] = place.split('/');
    return { stage: stageIndex(this.workflow.spec, stage), instance: Number(instance) };
  }

  /** Where a place is known to be. */
  addressOf(place: string): PlaceAddress {
    return this.resolve(place);
  }

  /** Says where a place is. */
  setAddress(place: string, address: PlaceAddress): void {
    this.routes.set(place, address);
  }

  /** Opens the instance of a place that was removed; the caller connects it. */
  reopen(place: string): Promise<StageInstance> {
    return this.openStage(this.placeOf(place), [this.plan]);
  }

  /** Ends an instance with all that it knows. */
  async remove(place: string): Promise<void> {
    this.routes.delete(place);
    await this.stages.get(place)?.close();
    this.stages.delete(place);
  }

  /** Ends an instance with all that it knows, and puts a new one in its place. */
  async replace(place: string, older: readonly Plan[] = []): Promise<void> {
    await this.remove(place);
    const instance = await this.openStage(this.placeOf(place), [this.plan, ...older]);
    await instance.connect();
  }

  /**
   * Puts a new instance in the place of one that goes on, as when its machine is cut off: everybody learns where the
   * place is now. @returns the one before, which the caller closes
   */
  async supersede(place: string): Promise<StageInstance> {
    const before = this.stages.get(place)!;
    const instance = await this.openStage(this.placeOf(place), [this.plan]);
    await instance.connect();
    this.tellAddresses();
    return before;
  }

  /** Tells every place that addresses may have changed. */
  tellAddresses(): void {
    for (const each of [...this.gateways, ...this.stages.values()]) each.reviewAddresses();
  }

  /** Gives stages other numbers of instances: every place works under the new plan, the gateways not yet. */
  async prepare(instances: Readonly<Record<string, readonly number[]>>): Promise<Plan> {
    const { spec } = this.workflow;
    const old = this.plan;
    const lists = spec.stages.map(({ name }, i) => instances[name] ?? old.instances[i]!);
    this.plan = makePlan(spec, old.number + 1, lists, old.gateways);
    const before = [...this.stages.values()];
    const added: StageInstance[] = [];
    for (const place of stagePlaces(this.plan)) {
      if (!this.stages.has(placeName(spec, place))) added.push(await this.openStage(place, [this.plan, old]));
    }
    await Promise.all([
      ...added.map((instance) => instance.connect()),
      ...before.map((instance) => instance.adopt(this.plan)),
    ]);
    return old;
  }

  /** Admits requests under the newest plan, and lets go of the one before when its requests have ended. */
  async change(old: Plan): Promise<void> {
    await Promise.all(this.gateways.map((gateway) => gateway.adopt(this.plan)));
    await Promise.all(this.gateways.map((gateway) => gateway.retire(old.number)));
    await Promise.all([...this.stages.values()].map((instance) => instance.retire(old.number)));
    const wanted = new Set(stagePlaces(this.plan).map((place) => placeName(this.workflow.spec, place)));
    for (const place of [...this.stages.keys()]) {
      if (wanted.has(place)) continue;
      await until(`${place} to be drained`, () => this.stages.get(place)!.isDrained);
      await this.remove(place);
    }
  }

  count(place: string, type: StageEvent['type']): number {
    return this.events.filter((e) => e.place === place && e.event.type === type).length;
  }

  /** Tasks at a place that have failed. */
  failed(place: string): number {
    return this.stages.get(place)?.status().failures ?? 0;
  }

  /** Outputs that a place has sent and must keep, by target. */
  unacknowledged(place: string, target: string): number {
    return this.stages.get(place)?.unacknowledged(target) ?? 0;
  }

  /** What is left at all places of requests that have ended; [] when nothing is. */
  get leftovers(): string[] {
    const left: string[] = [];
    const note = (name: string, what: string, count: number) => count > 0 && left.push(`${name}: ${count} ${what}`);
    for (const place of [...this.gateways, ...this.stages.values()]) {
      const status = place.status();
      note(status.name, 'open', status.open);
      note(status.name, 'incomplete', status.incomplete);
      note(status.name, 'early', status.early);
      note(status.name, 'blocks', status.pool.blocks);
      for (const [device, { pool }] of Object.entries(status.others))
        note(status.name, `blocks of ${device}`, pool.blocks);
      for (const link of status.links) {
        note(status.name, `unacknowledged by ${link.target}`, link.unacknowledged);
        note(status.name, `waiting for ${link.target}`, link.backlog);
      }
    }
    for (const gateway of this.gateways) {
      const { name, instances, queued, inFlight } = gateway.status();
      note(name, 'queued', queued);
      note(name, 'in flight', inFlight);
      for (const { stage, instance, unfinished, resident } of instances) {
        note(name, `unfinished at ${stage}/${instance}`, unfinished);
        note(name, `resident at ${stage}/${instance}`, resident);
      }
    }
    for (const instance of this.stages.values()) {
      const { name, running, ready, unsent } = instance.status();
      note(name, 'running', running);
      note(name, 'ready', ready);
      note(name, 'unsent', unsent);
    }
    return left;
  }

  /** Waits until no place has anything left of any request; throws with what is left. */
  async idle(timeoutMs = 10_000): Promise<void> {
    await until('the pipeline to be idle', () => this.leftovers.length === 0, timeoutMs).catch((cause) => {
      throw new Error(`not idle: ${this.leftovers.join('; ')}`, { cause });
    });
  }

  /** Waits until the stages do nothing any more: no event in many turns of the event loop. */
  async still(): Promise<void> {
    let seen = -1;
    while (seen !== this.events.length) {
      seen = this.events.length;
      for (let turn = 0; turn < 40; turn++) await sleep(1);
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.stages.values()].map((stage) => stage.close()));
    await Promise.all(this.gateways.map((gateway) => gateway.close()));
  }
}
