// Fastify with a bounded p-queue: an HTTP server of one process whose handlers wait in a queue for their turn.
//
// Invariant: the server is a process of its own and is gone when close() has ended. Whoever made a request ends it at
// its deadline by closing the connection; the server then stops what it does for it.
import { Agent, request as httpRequest } from 'node:http';
import { join } from 'node:path';
import type { OverloadServer } from './peers.js';
import { type OverloadSettings, slotsOf, STAGES } from '../../../src/ts/bench/overload/settings.js';
import type { Call, Outcome, OverloadSubject, SubjectContext } from '../../../src/ts/bench/overload/subject.js';
import { Partner } from '../../../src/ts/bench/kit/partner.js';
import { packageVersion } from '../installed.js';
import type { PQueueRequest } from './p-queue-main.js';

const PATH = '/run';
const MS_PER_S = 1000;

/** So many wait at most that the last one is answered in half of its deadline. */
function tunedBound({ capacityPerSecond, settings }: SubjectContext): number {
  const perSecond = capacityPerSecond ?? (slotsOf(settings) * MS_PER_S) / settings.serviceMs;
  return Math.max(1, Math.floor((perSecond * settings.deadlineMs) / MS_PER_S / 2));
}

function peer(name: string, boundOf: (context: SubjectContext) => number): OverloadServer {
  return {
    name,
    check: () => `Fastify ${packageVersion('fastify')}, p-queue ${packageVersion('p-queue', true)}`,
    open: (context) => PQueueSubject.open(context.settings, boundOf(context)),
  };
}

/** With the bound that our gateway has, too. */
export const pqueue = peer('pqueue', ({ settings }) => settings.queued);
/** With a bound that somebody has computed who knows the capacity and the deadline. */
export const pqueueTuned = peer('pqueue-tuned', tunedBound);

class PQueueSubject implements OverloadSubject {
  private readonly agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
  private readonly server: Partner;
  private readonly port: number;

  private constructor(server: Partner, port: number) {
    this.server = server;
    this.port = port;
  }

  static async open(settings: OverloadSettings, bound: number): Promise<PQueueSubject> {
    const server = new Partner(join(__dirname, 'p-queue-main.js'));
    try {
      const concurrency = STAGES.length * slotsOf(settings);
      const asked: PQueueRequest = { concurrency, bound, work: settings.work };
      const { port } = await server.ask<{ port: number }>(asked);
      return new PQueueSubject(server, port);
    } catch (error) {
      await server.end();
      throw error;
    }
  }

  call({ serviceMs, remainingMs }: Call): Promise<Outcome> {
    return new Promise((resolve) => {
      const body = JSON.stringify({ ms: serviceMs });
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
      const options = { host: '127.0.0.1', port: this.port, path: PATH, method: 'POST', agent: this.agent, headers };
      let timer: NodeJS.Timeout | undefined;
      const end = (outcome: Outcome) => {
        clearTimeout(timer);
        resolve(outcome);
      };
      const sent = httpRequest(options, (response) => {
        response.resume();
        response.once('error', (error) => end({ end: 'failed', words: error.message }));
        response.once('end', () => {
          const { statusCode, headers: answered } = response;
          if (statusCode === 200) end({ end: 'answered' });
          else if (statusCode === 503) {
            const seconds = Number(answered['retry-after']);
            end({ end: 'refused', retryAfterMs: Number.isFinite(seconds) ? seconds * MS_PER_S : undefined });
          } else end({ end: 'failed', words: `status ${statusCode}` });
        });
      });
      sent.once('error', (error) => end({ end: 'failed', words: error.message }));
      if (remainingMs !== undefined) {
        const late = () => {
          end({ end: 'deadline' });
          sent.destroy();
        };
        timer = setTimeout(late, Math.max(0, remainingMs));
      }
      sent.end(body);
    });
  }

  async close(): Promise<void> {
    this.agent.destroy();
    await this.server.end();
  }
}
