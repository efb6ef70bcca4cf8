// What the tests of pipelines share: a pipeline inside this process, and messages that no lane carries.
//
// Invariant: every wait ends, by what is waited for or by an error that names it.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  encodeMessage,
  type Parts,
  // biome-ignore lint/suspicious/noShadowRestrictedNames: the proxy of the design
  Proxy,
  RdmaError,
  type StageEvent,
  StageRuntime,
  type Tensor,
  tensor,
  type Workflow,
} from '../../src/ts/pipeline/index.js';
import type { Envelope } from '../../src/ts/pipeline/envelope.js';
import type { InboxAddress, InboxMessage } from '../../src/ts/ring/index.js';

export const DEVICE = process.env.ONEPIECE_DEVICE ?? 'soft0';
const SLOW = DEVICE === 'soft0' ? 1 : 12;

/** Waits for `condition`; looks again after every pause, never trusting a pause itself. */
export async function until(what: string, condition: () => boolean, timeoutMs = 10_000): Promise<void> {
  const end = performance.now() + timeoutMs * SLOW;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited too long for ${what}`);
    await sleep(5);
  }
}

/** The promise, or an error that says what did not come. */
export function within<T>(what: string, promise: Promise<T>, timeoutMs = 20_000): Promise<T> {
  let timer: NodeJS.Timeout;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited too long for ${what}`)), timeoutMs * SLOW);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
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

/** A pipeline whose stages all live here. */
export class Harness {
  readonly events: { place: string; event: StageEvent }[] = [];
  readonly failures: RdmaError[] = [];
  readonly stages = new Map<string, StageRuntime>();
  proxy!: Proxy;
  private readonly routes = new Map<string, InboxAddress>();
  private readonly common;

  private constructor(workflow: Workflow, maxInFlight: number) {
    this.common = { workflow, device: DEVICE, secret: 'for the tests only', maxInFlight, reconnectMs: 20_000 };
  }

  static async open(workflow: Workflow, { maxInFlight = 4, maxQueued = 256 } = {}): Promise<Harness> {
    const harness = new Harness(workflow, maxInFlight);
    harness.proxy = await Proxy.open({
      ...harness.common,
      maxQueued,
      resolve: (target) => harness.resolve(target),
      onFailed: (reason) => harness.failures.push(reason),
    });
    harness.routes.set('result/0', harness.proxy.address);
    const places = workflow.stages.flatMap(({ name, instances }) =>
      Array.from({ length: instances }, (_, i) => [name, i] as const),
    );
    for (const [name, i] of places) await harness.openStage(name, i);
    await Promise.all([...harness.stages.values()].map((stage) => stage.connect()));
    await harness.proxy.connect();
    return harness;
  }

  private resolve(target: string): InboxAddress {
    const address = this.routes.get(target);
    if (address === undefined) throw new RdmaError('RDMA_ERR_PEER_GONE', `${target} is away`);
    return address;
  }

  private async openStage(stage: string, instance: number): Promise<StageRuntime> {
    const place = `${stage}/${instance}`;
    const runtime = await StageRuntime.open({
      ...this.common,
      stage,
      instance,
      resolve: (target) => this.resolve(target),
      onEvent: (event) => this.events.push({ place, event }),
    });
    this.stages.set(place, runtime);
    this.routes.set(place, runtime.address);
    return runtime;
  }

  /** Ends an instance with all that it knows, and puts a new one in its place. */
  async replace(place: string): Promise<void> {
    const [stage = '', instance = '0'] = place.split('/');
    this.routes.delete(place);
    await this.stages.get(place)?.close();
    const runtime = await this.openStage(stage, Number(instance));
    await runtime.connect();
  }

  count(place: string, type: StageEvent['type']): number {
    return this.events.filter((e) => e.place === place && e.event.type === type).length;
  }

  /** Messages that a place has sent and must keep, by target. */
  retained(place: string, target: string): number {
    const inner = this.stages.get(place) as unknown as {
      links: { links: Map<string, { outbox: { unacknowledged: number } }> };
    };
    return inner.links.links.get(target)?.outbox.unacknowledged ?? 0;
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
    await this.proxy.close();
  }
}

/** What is needed to make an envelope differ from the usual one. */
export type EnvelopePart = Partial<Envelope>;

export function envelope(part: EnvelopePart = {}): Envelope {
  return {
    workflow: 'test',
    request: 'r1',
    ticket: 0,
    finishedBelow: 0,
    from: 'request',
    fromInstance: 0,
    sentAtUs: 1,
    deadlineAt: null,
    trace: { tasks: [], hops: [] },
    meta: {},
    error: null,
    ...part,
  };
}

/** A message of no lane, which counts what is done to it. */
export class FakeMessage {
  released = 0;
  acknowledged = 0;
  readonly from = 'test';
  readonly producer = 'test';
  readonly sequence = 1;
  laneHeldBytes = 0;
  laneBytes = 2 ** 20;
  laneHeldMessages = 1;
  laneSlots = 64;
  readonly bytes: Uint8Array;

  constructor(head: unknown, parts: Parts = {}) {
    const message = Buffer.concat(encodeMessage(head, parts));
    const memory = new ArrayBuffer(message.byteLength);
    this.bytes = new Uint8Array(memory);
    this.bytes.set(message);
  }

  release(): void {
    this.released++;
  }

  acknowledge(): void {
    this.acknowledged++;
  }

  done(): void {
    this.release();
    this.acknowledge();
  }

  get message(): InboxMessage {
    return this as unknown as InboxMessage;
  }
}
