// Chaos: many producers and a consumer, real processes, that are killed, stopped, fenced, drained and started again at
// random while they send and receive. What has to hold, exactly (chaos-ledger.ts): a message whose acknowledgement a
// producer saw was delivered, whole; each incarnation of the consumer gets the messages of a producer in order, each
// once, and nothing that was not sent; a producer that lives at the end gets everything acknowledged; and no process
// leaves anything behind.
//
// Invariant: the seed decides what is sent, who is hit, after how many messages, and how; it is named with every
// failure. Waiting is bounded by progress: as long as messages are delivered, nobody is late.
import { existsSync, fstatSync, mkdtempSync, openSync, closeSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Inbox, RdmaError } from '../../src/ts/ring/index.js';
import { judge, RECORD_BYTES, type Verdict } from './chaos-ledger.js';
import { type Blow, planBlow, producerShape } from './chaos-plan.js';
import { leftBehind, openNow, type Leftovers } from './leftovers.js';
import { RawProducer } from './raw-producer.js';
import { type Child, DEVICE, start } from './support.js';

export interface ChaosOptions {
  seed: number;
  /** How long blows are dealt; the end comes after it, when all is acknowledged. */
  seconds: number;
  producers: number;
  /** Messages between two blows, on average. */
  messagesBetween: number;
  onProgress?: (delivered: number, blows: number) => void;
}

export interface ChaosSummary extends Omit<Verdict, 'problems'> {
  seed: number;
  seconds: number;
  blows: Record<string, number>;
  /** Fences by somebody who came with the name of a stopped producer. */
  thefts: number;
  resent: number;
  inPlace: number;
  spilled: number;
}

/** When nothing was delivered for so long, something hangs. */
const STILL_MS = 60_000;
const LOOK_MS = 4;

interface Player {
  child: Child;
  producer: number;
  incarnation: number;
  identity: string;
  isStopped: boolean;
  /** What was delivered when it goes on. */
  goesOnAt: number;
  thenKill: boolean;
}

class Run {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'onepiece-chaos-'));
  readonly blows: Record<string, number> = {};
  thefts = 0;
  private readonly options: ChaosOptions;
  private readonly players: Player[] = [];
  private readonly files: number[] = []; // ledgers of the consumers
  private consumer!: Child;
  private consumers = 0;
  private readonly asides: Promise<void>[] = []; // consumers that drain
  private lastDelivered = 0;
  private progressAt = performance.now();

  constructor(options: ChaosOptions) {
    this.options = options;
  }

  // ---- Processes

  private async startConsumer(): Promise<Child> {
    const { seed, producers } = this.options;
    const incarnation = this.consumers++;
    const child = start('chaos-consumer', { folder: this.folder, seed, producers, incarnation });
    await child.hear('listening');
    this.files.push(openSync(path.join(this.folder, `consumer-${incarnation}.ledger`), 'r'));
    return child;
  }

  private async startProducer(producer: number, incarnation: number): Promise<Player> {
    const child = start('chaos-producer', { folder: this.folder, seed: this.options.seed, producer, incarnation });
    const player: Player = {
      child,
      producer,
      incarnation,
      identity: '',
      isStopped: false,
      goesOnAt: 0,
      thenKill: false,
    };
    this.players[producer] = player;
    player.identity = (await child.hear('identity')) as string;
    return player;
  }

  // A process that nobody has killed has ended: it says why on its stderr.
  private checkLiving(): void {
    for (const { child, producer } of this.players) this.mustLive(child, `producer ${producer}`);
    this.mustLive(this.consumer, 'the consumer');
  }

  private mustLive({ process: { exitCode, signalCode } }: Child, who: string): void {
    if (exitCode !== null || signalCode !== null) throw new Error(`${who} ended with ${exitCode ?? signalCode}`);
  }

  private async kill(child: Child): Promise<void> {
    child.process.kill('SIGKILL');
    await child.exited;
  }

  // ---- Progress

  /** Messages delivered by all consumers so far, roughly: some have more than one record. */
  private delivered(): number {
    const records = this.files.reduce((sum, fd) => sum + fstatSync(fd).size / RECORD_BYTES, 0);
    if (records > this.lastDelivered) {
      this.lastDelivered = records;
      this.progressAt = performance.now();
    }
    return records >>> 1;
  }

  private async look(): Promise<number> {
    await sleep(LOOK_MS);
    this.checkLiving();
    const delivered = this.delivered();
    await this.continueDue(delivered);
    if (performance.now() - this.progressAt > STILL_MS) throw new Error(`nothing was delivered for ${STILL_MS} ms`);
    return delivered;
  }

  private async continueDue(delivered: number): Promise<void> {
    const isStill = performance.now() - this.progressAt > 1000;
    for (const player of this.players) {
      // The others may have nothing left to do: all of them stand still, or are waiting for their turn to be killed.
      if (player.isStopped && (delivered >= player.goesOnAt || isStill)) await this.goOn(player);
    }
  }

  private async goOn(player: Player): Promise<void> {
    player.isStopped = false;
    if (!player.thenKill) {
      player.child.process.kill('SIGCONT');
      return;
    }
    await this.kill(player.child);
    await this.startProducer(player.producer, player.incarnation + 1);
  }

  // ---- Blows

  private async deal(blow: Blow): Promise<void> {
    const name = `${blow.victim < 0 ? 'consumer' : 'producer'}: ${blow.fault}`;
    if (blow.victim < 0) await this.hitConsumer(blow);
    else if (!(await this.hitProducer(this.players[blow.victim]!, blow))) return;
    this.blows[name] = (this.blows[name] ?? 0) + 1;
  }

  private async hitConsumer({ fault, lasts }: Blow): Promise<void> {
    const old = this.consumer;
    if (fault.startsWith('stop')) {
      old.process.kill('SIGSTOP');
      await sleep(lasts);
      if (fault === 'stop') {
        old.process.kill('SIGCONT');
        return;
      }
    }
    if (fault === 'drain') {
      this.consumer = await this.startConsumer();
      old.process.send('drain');
      this.asides.push(this.ended(old, 'a consumer that drains'));
      return;
    }
    await this.kill(old);
    this.consumer = await this.startConsumer();
  }

  private async hitProducer(player: Player, { fault, lasts }: Blow): Promise<boolean> {
    const { child, producer, incarnation } = player;
    if (player.isStopped) return false;
    if (fault === 'kill') {
      await this.kill(child);
      await this.startProducer(producer, incarnation + 1);
      return true;
    }
    child.process.kill('SIGSTOP');
    player.isStopped = true;
    player.goesOnAt = this.delivered() + lasts;
    player.thenKill = fault === 'stop and kill';
    if (fault === 'stop and fence') await this.steal(player);
    return true;
  }

  // Somebody comes with the name of a producer that is stopped: its lane is fenced, and it finds out when it goes on.
  private async steal(player: Player): Promise<void> {
    const { producer, incarnation, identity } = player;
    if (!this.isKnown(producer, incarnation)) return;
    const { slots } = producerShape(this.options.seed, producer);
    const port = Number(readFileSync(path.join(this.folder, 'port'), 'utf8'));
    const at = { bootstrap: { host: '127.0.0.1', port } } as Pick<Inbox, 'bootstrap'>;
    const offer = { producer: identity, name: `p${producer}.${incarnation}`, retainMessages: 4 * slots };
    const thief = await RawProducer.connect(at, offer);
    this.thefts++;
    thief.close();
  }

  // Whether the present consumer has had a message of it: only then its memory of the producer is that of the producer.
  private isKnown(producer: number, incarnation: number): boolean {
    const bytes = readFileSync(path.join(this.folder, `consumer-${this.consumers - 1}.ledger`));
    const key = ((producer << 16) | incarnation) >>> 0;
    for (let at = 0; at + RECORD_BYTES <= bytes.length; at += RECORD_BYTES) {
      if (bytes.readUInt32LE(at + 4) === key) return true;
    }
    return false;
  }

  // ---- The run

  async play(): Promise<void> {
    const { seed, seconds, producers, messagesBetween, onProgress } = this.options;
    this.consumer = await this.startConsumer();
    await Promise.all(Array.from({ length: producers }, (_, producer) => this.startProducer(producer, 0)));
    const end = performance.now() + seconds * 1000;
    let at = 0;
    for (let n = 0; performance.now() < end; n++) {
      const blow = planBlow(seed, n, producers, messagesBetween);
      at = this.delivered() + blow.after;
      while ((await this.look()) < at && performance.now() < end);
      if (performance.now() >= end) break;
      await this.deal(blow);
      onProgress?.(this.delivered(), n + 1);
    }
  }

  /** Everybody goes on, sends no more, and has all of it acknowledged. Answers what they counted. */
  async finish(): Promise<Record<string, number>[]> {
    for (const player of this.players) if (player.isStopped) await this.goOn(player);
    for (const { child } of this.players) child.process.send('finish');
    const waiting = this.players.map(async ({ child, producer }) => {
      await this.ended(child, `producer ${producer}`);
      const said = child.said.find((words) => 'finished' in words)!;
      this.mustBeClean(said.left as Leftovers, `producer ${producer}`);
      return said.finished as Record<string, number>;
    });
    const counters = await Promise.all(waiting);
    await Promise.all(this.asides);
    this.consumer.process.send('close');
    await this.ended(this.consumer, 'the consumer');
    const said = this.consumer.said.find((words) => 'closed' in words)!;
    this.mustBeClean(said.left as Leftovers, 'the consumer');
    return counters;
  }

  private mustBeClean(left: Leftovers, who: string): void {
    if (left.descriptors > 0 || left.mappings > 0) throw new Error(`${who} leaves ${JSON.stringify(left)}`);
  }

  // Waits for the end of a process, as long as anything is delivered.
  private async ended(child: Child, who: string): Promise<void> {
    let isOver = false;
    void child.exited.then(() => {
      isOver = true;
    });
    this.progressAt = performance.now();
    while (!isOver) {
      await sleep(LOOK_MS);
      this.delivered();
      if (performance.now() - this.progressAt > STILL_MS) throw new Error(`${who} does not end`);
    }
    const { code, signal } = await child.exited;
    if (code !== 0) throw new Error(`${who} ended with ${code ?? signal}`);
  }

  problems(): string {
    const file = path.join(this.folder, 'problems');
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  async killAll(): Promise<void> {
    for (const child of [...this.players.map((player) => player.child), this.consumer]) {
      if (child === undefined || child.process.exitCode !== null || child.process.signalCode !== null) continue;
      await this.kill(child);
    }
    await Promise.allSettled(this.asides);
  }

  closeFiles(): void {
    for (const fd of this.files.splice(0)) closeSync(fd);
  }

  clear(): void {
    this.closeFiles();
    rmSync(this.folder, { recursive: true });
  }
}

/** The command that does it again. */
export function replayOf({ seed, seconds, producers, messagesBetween }: ChaosOptions): string {
  const device = DEVICE === 'soft0' ? '' : ` (ONEPIECE_DEVICE=${DEVICE})`;
  return `npm run chaos -- --seed ${seed} --seconds ${seconds} --producers ${producers} --between ${messagesBetween}${device}`;
}

/**
 * Runs chaos once.
 *
 * @returns what was done
 * @throws Error with what does not hold, and the command that runs the same seed again
 */
export async function runChaos(options: ChaosOptions): Promise<ChaosSummary> {
  const before = openNow();
  const began = performance.now();
  const run = new Run(options);
  try {
    await run.play();
    const counters = await run.finish();
    const { problems, ...verdict } = judge(run.folder, options.seed);
    const said = run.problems();
    if (problems.length > 0 || said !== '') throw new Error([...problems, said].join('\n'));
    const sum = (of: string) => counters.reduce((total, each) => total + (each[of] ?? 0), 0);
    run.closeFiles();
    const left = await leftBehind(before);
    if (left.descriptors > 0 || left.mappings > 0) throw new Error(`left behind: ${JSON.stringify(left)}`);
    return {
      seed: options.seed,
      seconds: Math.round((performance.now() - began) / 100) / 10,
      ...verdict,
      blows: run.blows,
      thefts: run.thefts,
      resent: sum('resent'),
      inPlace: sum('inPlace'),
      spilled: sum('spilled'),
    };
  } catch (error) {
    // What the ledgers say of what happened before is often the reason; nobody writes in them any more.
    await run.killAll();
    const { problems } = judge(run.folder, options.seed);
    const words = [(error as RdmaError).message, ...problems, run.problems()].filter((line) => line !== '');
    throw new Error(`${[...new Set(words)].join('\n')}\nreplay: ${replayOf(options)}`, { cause: error });
  } finally {
    run.clear();
  }
}
