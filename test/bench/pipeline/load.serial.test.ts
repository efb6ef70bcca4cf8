// Proves: a load keeps as many requests under way as it should, counts what was answered, and ends with the reason
// when an answer is wrong or the subject has failed.
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Load } from '../../../src/ts/bench/pipeline/load.js';
import type { Answer, Subject } from '../../../src/ts/bench/pipeline/subject.js';

/** Answers each request with its own bytes after some time. */
class Echo implements Subject {
  failed: Error | undefined;
  underWay = 0;
  most = 0;
  released = 0;
  answers = 0;
  spoil: ((bytes: Uint8Array) => Uint8Array) | undefined;
  silent = false;

  constructor(private readonly delayMs: number) {}

  async request(bytes: Uint8Array): Promise<Answer> {
    this.most = Math.max(this.most, ++this.underWay);
    await sleep(this.delayMs);
    if (this.silent) await new Promise(() => {});
    this.underWay--;
    this.answers++;
    const copy = this.spoil?.(bytes.slice()) ?? bytes.slice();
    return { bytes: copy, release: () => this.released++ };
  }

  async close(): Promise<void> {}
}

void t.test('latency, rate and number under way are those of the subject', async (t) => {
  const echo = new Echo(5);
  const load = new Load(echo, 64);
  load.start(4);
  await load.warmUp();
  const before = echo.answers;
  const measured = await load.measure(process.pid, 1);
  const answered = echo.answers - before;
  await load.stop();
  t.equal(echo.most, 4);
  t.equal(echo.underWay, 0);
  t.equal(echo.released, echo.answers);
  t.ok(Math.abs(answered - measured.requests) <= 4, `${answered}, ${measured.requests}`);
  t.ok(measured.samplesUs.length > measured.requests - 5 && measured.samplesUs.length <= measured.requests);
  const sorted = measured.samplesUs.sort();
  // Timers count whole milliseconds, so one of 5 may end after a little more than 4.
  t.ok(sorted[0]! >= 4000 && sorted[sorted.length >> 1]! < 50_000, `${sorted[0]}, ${sorted[sorted.length >> 1]}`);
  t.ok(measured.seconds >= 1 && measured.seconds < 1.5);
  t.ok(measured.cpuUs > 0 && measured.rssKib >= measured.pssKib && measured.pssKib > 0);
});

void t.test('after a rest there is one request at a time', async (t) => {
  const echo = new Echo(1);
  const measured = await new Load(echo, 64).rest(process.pid, 10, 12);
  t.strictSame([echo.most, echo.answers, measured.requests, measured.samplesUs.length], [1, 12, 12, 12]);
  t.ok(measured.seconds > 12 * 0.0105, `${measured.seconds}`);
});

void t.test('a wrong answer ends the load', async (t) => {
  const echo = new Echo(1);
  const load = new Load(echo, 64);
  load.start(2);
  setTimeout(() => {
    echo.spoil = (bytes) => bytes.fill(0, 60);
  }, 100);
  await t.rejects(load.warmUp(), { code: 'RDMA_ERR_PROTOCOL' });
  await t.rejects(load.stop(), { code: 'RDMA_ERR_PROTOCOL' });
});

void t.test('a subject that has failed and is silent ends the load with its reason', async (t) => {
  const echo = new Echo(1);
  const load = new Load(echo, 64);
  load.start(2);
  setTimeout(() => {
    echo.silent = true;
    echo.failed = new Error('it has ended');
  }, 100);
  await t.rejects(load.warmUp(), { message: 'it has ended' });
  await t.rejects(load.stop(), { message: 'it has ended' });
});
