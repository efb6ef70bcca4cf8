// BullMQ on a Redis server of its own: a queue, a process with a worker, and whoever adds a job waits for its end.
//
// Invariant: the server keeps nothing on disk, listens on a Unix socket only, and is gone with the worker when
// close() has ended.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type * as BullMq from 'bullmq';
import type { OverloadServer } from './peers.js';
import { slotsOf, STAGES } from '../../../src/ts/bench/overload/settings.js';
import type { Call, Outcome, OverloadSubject, SubjectContext } from '../../../src/ts/bench/overload/subject.js';
import { Partner } from '../../../src/ts/bench/kit/partner.js';
import type { BullMqRequest } from './bullmq-main.js';
import { findProgram } from '../../../src/ts/bench/kit/find-program.js';
import { loadPackage, packageVersion } from '../installed.js';
import { ServerProcess } from '../../../src/ts/bench/kit/server-process.js';

export const QUEUE = 'overload';
/** The words of a job that was too late. */
export const EXPIRED = 'expired';
const REMEDY = 'apt-get install redis-server';
const program = () => findProgram('redis-server', REMEDY);
/** Jobs that have ended and whose outcome somebody may still ask for. */
const KEPT = { count: 1000 };
/** What Job.waitUntilFinished() says when its time is over. */
const TIMED_OUT = /timed out before finishing/;
/** Whoever waits as long as it takes. */
const LONG_MS = 600_000;

export const bullmq: OverloadServer = {
  name: 'bullmq',
  check: () => {
    const said = spawnSync(program(), ['--version'], { encoding: 'utf8', timeout: 10_000 }).stdout;
    return `BullMQ ${packageVersion('bullmq')}, Redis ${/v=(\S+)/.exec(said)?.[1] ?? 'of unknown version'}`;
  },
  open: (context) => BullMqSubject.open(context),
};

class BullMqSubject implements OverloadSubject {
  private readonly server: ServerProcess;
  private readonly worker: Partner;
  private readonly queue: BullMq.Queue;
  private readonly events: BullMq.QueueEvents;
  private readonly bound: number;

  private constructor(server: ServerProcess, worker: Partner, path: string, bound: number) {
    const { Queue, QueueEvents } = loadPackage<typeof BullMq>('bullmq');
    const connection = { path, maxRetriesPerRequest: null };
    this.server = server;
    this.worker = worker;
    this.queue = new Queue(QUEUE, { connection });
    this.events = new QueueEvents(QUEUE, { connection });
    // Of both: one for each job that is waited for.
    this.queue.setMaxListeners(0);
    this.events.setMaxListeners(0);
    this.queue.on('error', () => {}); // without a listener it would throw; the waiting call fails anyway
    this.events.on('error', () => {});
    this.bound = bound;
  }

  static async open({ settings, folder }: SubjectContext): Promise<BullMqSubject> {
    const path = join(folder, 'redis');
    const args = ['--port', '0', '--unixsocket', path, '--unixsocketperm', '700', '--save', '', '--dir', folder];
    const server = await ServerProcess.start(program(), args, { path });
    const worker = new Partner(join(__dirname, 'bullmq-main.js'));
    try {
      const concurrency = STAGES.length * slotsOf(settings);
      const asked: BullMqRequest = { path, concurrency, work: settings.work };
      await worker.ask(asked);
      const subject = new BullMqSubject(server, worker, path, settings.queued);
      await subject.events.waitUntilReady();
      return subject;
    } catch (error) {
      await worker.end();
      await server.close();
      throw error;
    }
  }

  async call({ serviceMs, remainingMs }: Call): Promise<Outcome> {
    const begin = performance.now();
    const leftMs = () => (remainingMs === undefined ? LONG_MS : remainingMs - (performance.now() - begin));
    try {
      if ((await this.queue.getWaitingCount()) >= this.bound) return { end: 'refused' };
      const untilMs = remainingMs === undefined ? null : Date.now() + leftMs();
      const job = await this.queue.add(
        'run',
        { ms: serviceMs, untilMs },
        { removeOnComplete: KEPT, removeOnFail: KEPT },
      );
      await job.waitUntilFinished(this.events, Math.max(1, leftMs()));
      return { end: 'answered' };
    } catch (error) {
      const { message } = error as Error;
      if (message === EXPIRED || (remainingMs !== undefined && TIMED_OUT.test(message))) return { end: 'deadline' };
      return { end: 'failed', words: message };
    }
  }

  async close(): Promise<void> {
    await this.worker.end();
    await Promise.all([this.queue.disconnect(), this.events.disconnect()]);
    await this.server.close();
  }
}
