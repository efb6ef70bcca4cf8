// One process in a place of a simulated pipeline, as its supervisor sees it.
//
// Invariant: whatever the supervisor asks of a process happens in that process: not while it is stopped, and never when
// it is dead.
import type { AdmittedRequest } from '../../src/ts/pipeline/admission.js';
import type { JoinedInputs } from '../../src/ts/pipeline/join.js';
import type { Place } from '../../src/ts/pipeline/place.js';
import type { RequestKeeper } from '../../src/ts/pipeline/request-keeper.js';
import type { Blame } from '../../src/ts/cluster/blame.js';
import {
  BOARD_SLOTS,
  Gateway,
  type Graph,
  type PlaceId,
  type Plan,
  placeName,
  type RequestAttempt,
  StageInstance,
  TaskBoard,
  type TaskEvent,
  type PlaceAddress,
} from '../../src/ts/pipeline/index.js';
import { simPipelinePort } from '../../src/ts/sim/port.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import type { SimWorld } from '../../src/ts/sim/world.js';
import type { PipelineShape } from './pipeline-shape.js';
import type { Work } from './pipeline-work.js';

const SECRET = 'the simulation knows it';
const NEVER_MS = 2 ** 31 - 1;

/** What all processes of a run share. */
export interface Surroundings {
  world: SimWorld;
  shape: PipelineShape;
  graph: Graph;
  work: Work;
  /** Where a place listens now. */
  resolve: (target: string) => PlaceAddress;
  /** Who is to blame for the ends of processes. */
  blame: Blame;
  /** Something has changed that a supervisor may wait for. */
  changed: () => void;
}

/** What there is of a place beneath the gateway or the stage instance. */
const placeOf = (instance: Gateway | StageInstance): Place => (instance as unknown as { place: Place }).place;
const keeperOf = (gateway: Gateway): RequestKeeper => {
  return (gateway as unknown as { keeper: Gateway['keeper'] }).keeper;
};

export class PlaceProcess {
  readonly id: PlaceId;
  readonly name: string;
  readonly process: SimProcess;
  readonly incarnation: number;
  address: PlaceAddress | undefined;
  /** It has connected to all places that it may send to. */
  connected = false;
  /** Another process has its place. */
  replaced = false;
  closed = false;
  /** How long it was stopped in all. */
  stoppedMs = 0;
  /** Numbers of the plans that it works under, and that it has let go. */
  readonly adopted = new Set<number>();
  readonly retired = new Set<number>();
  gateway: Gateway | undefined;
  stage: StageInstance | undefined;
  /** What its supervisor sees of its tasks. */
  board: TaskBoard | undefined;
  private readonly asked = new Set<string>();
  private readonly around: Surroundings;
  private readonly unfinished = new Map<string, Set<AdmittedRequest>>(); // of a gateway, by place

  constructor(
    around: Surroundings,
    id: PlaceId,
    incarnation: number,
    plans: readonly Plan[],
    lost: PlaceId | undefined,
  ) {
    this.around = around;
    this.id = id;
    this.incarnation = incarnation;
    this.name = placeName(around.graph.spec, id);
    this.process = around.world.process(`${this.name}.${incarnation}`);
    // What its supervisor knows as it starts.
    const known = { barred: [...around.blame.barred], suspects: [...around.blame.suspects] };
    this.process.later(0, () => this.does('open', this.open(plans, lost, known)));
  }

  get place(): Place | undefined {
    const instance = this.gateway ?? this.stage;
    return instance === undefined ? undefined : placeOf(instance);
  }

  get isRunning(): boolean {
    return this.process.state === 'running';
  }

  // An error of a process that lives, and has its place, is a defect.
  private does(what: string, promise: Promise<void>): void {
    promise.then(this.around.changed, (error: unknown) => {
      if (this.process.state === 'dead' || this.replaced || this.closed) return;
      this.around.world.broken.push(`${this.process.name} cannot ${what}: ${String(error)}`);
    });
  }

  private async open(
    plans: readonly Plan[],
    lost: PlaceId | undefined,
    known: { barred: RequestAttempt[]; suspects: RequestAttempt[] },
  ): Promise<void> {
    const { world, shape, graph, work, resolve, changed } = this.around;
    const { residentRequests, streamedPieces, slots, inlineBytes, laneMessages, poolBytes, pollUs, flaw } = shape;
    const [plan, ...olderPlans] = [...plans].reverse() as [Plan, ...Plan[]];
    const options = {
      port: simPipelinePort(world, this.process),
      graph,
      self: this.id,
      incarnation: this.incarnation,
      plan,
      olderPlans,
      device: 'sim0',
      secret: SECRET,
      pollUs,
      reconnectMs: NEVER_MS,
      resolve,
      sizes: { residentRequests, streamedPieces, slots, inlineBytes, laneMessages, poolBytes },
      flaw,
      onFailed: (reason: Error) => {
        if (!this.replaced && this.process.state !== 'dead')
          world.broken.push(`${this.process.name} has failed: ${reason.message}`);
        changed();
      },
    };
    const { stage, instance } = this.id;
    if (stage < 0) {
      const onTask = shape.watched ? (event: TaskEvent) => work.checkEvent(event) : undefined;
      this.gateway = await Gateway.open({ ...options, maxInFlight: shape.maxInFlight, maxQueued: 100, onTask });
      this.watchAdmission(this.gateway);
    } else {
      const code = work.code(stage, instance, this.process);
      this.board = new TaskBoard(new ArrayBuffer(TaskBoard.bytesFor(BOARD_SLOTS)));
      this.stage = await StageInstance.open({ ...options, ...code, board: this.board, ...known });
    }
    for (const { number } of plans) this.adopted.add(number);
    const opened = (this.gateway ?? this.stage)!;
    if (lost !== undefined) void opened.giveUp(lost);
    this.address = opened.address;
    changed();
    await opened.connect();
    this.connected = true;
  }

  // ---- What the supervisor asks; each once

  private ask(what: string, call: () => Promise<void>): void {
    if (this.asked.has(what)) return;
    this.asked.add(what);
    this.process.later(0, () => {
      if (!this.closed) this.does(what, call());
    });
  }

  /** These requests run alone from now on. */
  suspect(requests: readonly RequestAttempt[]): void {
    this.process.later(0, () => {
      if (!this.closed) this.stage?.setSuspects(requests);
    });
  }

  adopt(plan: Plan): void {
    this.ask(`adopt plan ${plan.number}`, async () => {
      await (this.gateway ?? this.stage)!.adopt(plan);
      this.adopted.add(plan.number);
    });
  }

  retire({ number }: Plan): void {
    this.ask(`retire plan ${number}`, async () => {
      await (this.gateway ?? this.stage)!.retire(number);
      this.retired.add(number);
      if (!this.replaced) this.checkRetired(number);
    });
  }

  private checkRetired(number: number): void {
    const { broken } = this.around.world;
    for (const { plan, ticket, state } of this.place!.join.all()) {
      // What was sent on is waited for until it is acknowledged.
      if (plan.number === number && state !== 'sent')
        broken.push(`${this.process.name} has retired plan ${number} with request ${ticket}`);
    }
    for (const [place, requests] of this.unfinished) {
      for (const { plan } of requests) {
        if (plan.number === number) broken.push(`${this.process.name} has retired plan ${number}, and ${place} works`);
      }
    }
  }

  giveUp(place: PlaceId): void {
    this.ask(`give up ${placeName(this.around.graph.spec, place)}`, () => (this.gateway ?? this.stage)!.giveUp(place));
  }

  close(): void {
    this.ask('close', async () => {
      this.closed = true;
      await (this.gateway ?? this.stage)?.close();
      this.process.crash();
    });
  }

  // ---- Windows: never more unfinished requests of a place than it has room for

  private watchAdmission(gateway: Gateway): void {
    const { admission } = keeperOf(gateway);
    const { graph, world } = this.around;
    const admit = admission.admit.bind(admission);
    const ended = admission.ended.bind(admission);
    admission.admit = (nowUs, spreads) => {
      const admitted = admit(nowUs, spreads);
      for (const { stage, instance } of admitted?.unfinished.flat() ?? []) {
        const name = placeName(graph.spec, { stage, instance });
        const requests = this.unfinished.get(name) ?? new Set();
        this.unfinished.set(name, requests.add(admitted!));
        // Of one that was replaced nobody counts the tasks that have ended.
        if (!this.replaced && requests.size > admission.limitOf(stage)) {
          world.broken.push(`${name} has ${requests.size} requests, and room for ${admission.limitOf(stage)}`);
        }
      }
      return admitted;
    };
    admission.ended = (admitted) => {
      for (const requests of this.unfinished.values()) requests.delete(admitted);
      ended(admitted);
    };
  }

  /** Of a gateway: the task of a request at a place has ended. */
  taskEnded({ ticket, attempt }: JoinedInputs, place: string): void {
    const known = keeperOf(this.gateway!).underWay.find(this.incarnation, ticket, attempt);
    if (known?.admitted !== undefined) this.unfinished.get(place)?.delete(known.admitted);
  }

  /** Each request that is here, for people who look for the reason of a failure. */
  get situation(): string[] {
    const lines: string[] = [];
    for (const { ticket, attempt, state, inputs, streams, senders, ledger, plan } of this.place?.join.all() ?? []) {
      const all = senders.map(({ stage, instance }, i) => {
        const { incarnation, runs } = inputs[i]?.envelope ?? streams?.[i]?.any?.envelope ?? {};
        const pieces = streams?.[i] === undefined ? '' : ` ${streams[i].readable} pieces`;
        const open = streams?.[i]?.isClosed === false ? ', open' : '';
        if (pieces !== '') return `${stage}/${instance}.${incarnation} [${runs}]${pieces}${open}`;
        return `${stage}/${instance}${incarnation === undefined ? ' missing' : `.${incarnation} [${runs}]`}`;
      });
      const of = `${ledger.gateway}.${ledger.gatewayRun} ticket ${ticket} attempt ${attempt} plan ${plan.number}`;
      lines.push(`${this.process.name}: ${of}: ${state}, from ${all.join(', ')}`);
    }
    for (const { target, unacknowledged, backlog } of this.place?.status().links ?? []) {
      if (unacknowledged > 0) lines.push(`${this.process.name} to ${target}: ${unacknowledged}, ${backlog} wait`);
    }
    return lines;
  }

  /** What is left of requests here, in words; undefined: nothing. */
  get leftover(): string | undefined {
    const { place, gateway, stage } = this;
    if (!this.connected || place === undefined) return `${this.name} is not connected`;
    const left = place.join.openCount;
    if (left > 0) return `${this.name} has ${left} open requests`;
    const { early, links, pool } = place.status();
    if (early > 0) return `${this.name} has ${early} messages of an unknown plan`;
    if (pool.blocks > 0) return `${this.name} has ${pool.blocks} blocks in use`;
    for (const { target, backlog, unacknowledged } of links) {
      if (backlog + unacknowledged > 0) return `${target} has not acknowledged ${unacknowledged} of ${this.name}`;
    }
    if (stage !== undefined && !stage.isDrained) return `${this.name} is not drained`;
    if (gateway === undefined) return undefined;
    const { inFlight, queued, instances } = gateway.status();
    if (inFlight + queued > 0) return `${this.name} has ${inFlight} requests under way and ${queued} that wait`;
    for (const { unfinished, resident, ...of } of instances) {
      if (unfinished !== 0 || resident !== 0)
        return `${this.name} counts ${unfinished} and ${resident} at ${of.stage}/${of.instance}`;
    }
    return undefined;
  }
}
