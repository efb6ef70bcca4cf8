// Proves that a listener that does not read costs a bounded number of events and loses its connection, and that one
// that comes back misses nothing.
import t from 'tap';
import { RdmaError } from '../../src/ts/core/errors.js';
import type { Job, JobEvent, JobRecord } from '../../src/ts/jobs/index.js';
import { startServer } from '../../src/ts/serve/index.js';
import { small } from './small.js';
import { asker, bare, eventsOf, until } from './support.js';

const RECORD: JobRecord = {
  id: 'endless',
  tenant: 'default',
  priority: 0,
  state: 'running',
  submittedAtMs: 0,
  endedAtMs: undefined,
  attempts: 1,
  requestBytes: 0,
  resultBytes: undefined,
  error: undefined,
};

/** A job that always has a further event; it counts those that were taken. */
class Endless implements Job {
  readonly id = RECORD.id;
  taken = 0;
  listening = 0;
  record = async () => RECORD;
  result = () => Promise.reject(new RdmaError('RDMA_ERR_ABORTED', 'it never ends'));
  cancel = async () => false;

  async *pieces(): AsyncGenerator<never> {}

  async *events({ after = 0, signal }: { after?: number; signal?: AbortSignal } = {}): AsyncGenerator<JobEvent> {
    this.listening++;
    try {
      for (let number = after + 1; !signal?.aborted; number++) {
        this.taken++;
        yield { number, atMs: 0, type: 'progress', preview: 'x'.repeat(1000) };
        // What is made as fast as it is taken leaves the event loop no turn.
        await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      this.listening--;
    }
  }
}

void t.test('events', async (t) => {
  const job = new Endless();
  const desk = { submit: async () => job, job: async () => job, jobs: async () => [] };
  const served = { desk, spec: small.spec, version: '1' };
  const server = await startServer(served, { port: 0, idleTimeoutMs: 300, eventIntervalMs: 100 });
  t.teardown(() => server.close());

  await t.test('a listener that does not read', async (t) => {
    const { socket, answer } = await bare(server.url);
    socket.pause();
    socket.write('GET /v1/jobs/endless/events HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await until('it listens', () => job.listening === 1);
    await until('it is cut off', () => job.listening === 0);
    // What the kernel's buffers and that of the response hold: some MB.
    t.ok(job.taken < 20_000, `${job.taken} events were taken`);
    socket.resume();
    await answer;
  });

  await t.test('a listener that comes back', async (t) => {
    const response = await fetch(`${server.url}/v1/jobs/endless/events`, { headers: { 'last-event-id': '41' } });
    const ids: number[] = [];
    for await (const { id } of eventsOf(response)) if (ids.push(id) === 3) break;
    t.strictSame(ids, [42, 43, 44]);
    await until('it is forgotten', () => job.listening === 0);
    t.equal((await asker(server.url)('/livez')).status, 200);
  });
});
