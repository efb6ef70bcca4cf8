// Latency of a message from one process's JavaScript to another's, by ping-pong.
//
// Invariant: both sides poll busily and copy nothing out; a sample is half of the time from before send() until the
// echo was received, so it holds sending, the way, polling and the acknowledgement that every message needs.
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { RdmaError } from '../core/errors.js';
import { checkInteger } from '../core/validate.js';
import { Inbox, type Lane, Outbox } from '../ring/index.js';
import { Device } from '../verbs/index.js';
import type { BenchResult } from './report.js';
import { percentile, round3 } from './statistics.js';

export interface RingLatOptions {
  device: string;
  /** 0 to 256 MiB. */
  sizeBytes: number;
  /** Samples, 1 to 10 million; a tenth as many go before them to warm up. */
  iterations: number;
  signal?: AbortSignal;
}

/** What the echo process is told. */
export interface EchoConfig {
  parentPid: number;
  device: string;
  secret: string;
  port: number;
  dataBytes: number;
}

const ECHO_TIMEOUT_MS = 30_000;
const TURN_EVERY = 512;
/** The outbox has news only once for a quarter of its lane. */
export const POLLS_PER_OUTBOX_POLL = 16;
const SPINS_BEFORE_CLOCK = 4096;

/**
 * Measures.
 *
 * @throws RdmaError RDMA_ERR_NO_DEVICE; RDMA_ERR_TIMEOUT when the echo process does not answer for 30 s;
 *   RDMA_ERR_ABORTED
 */
export async function ringLat(options: RingLatOptions): Promise<BenchResult> {
  const { signal } = options;
  const sizeBytes = checkInteger('sizeBytes', options.sizeBytes, 0, 256 * 2 ** 20);
  const iterations = checkInteger('iterations', options.iterations, 1, 10_000_000);
  const secret = randomBytes(32).toString('hex');
  const dataBytes = Math.max(2 ** 20, 4 * sizeBytes);
  const device = Device.open(options.device);
  const inbox = await Inbox.listen({ device, secret, wait: 'busy', maxDataBytes: dataBytes });
  const child = fork(join(__dirname, 'echo-main.js'), [], { stdio: ['ignore', 2, 2, 'ipc'] });
  let outbox: Outbox | undefined;
  try {
    const config: EchoConfig = {
      parentPid: process.pid,
      device: options.device,
      secret,
      port: inbox.bootstrap.port,
      dataBytes,
    };
    child.send(config);
    const [message] = (await Promise.race([
      once(child, 'message', {
        signal: AbortSignal.any([AbortSignal.timeout(ECHO_TIMEOUT_MS), ...(signal ? [signal] : [])]),
      }),
      once(child, 'exit').then(() => {
        throw new RdmaError('RDMA_ERR_PEER_GONE', 'the echo process ended before it began');
      }),
    ])) as [{ port: number }];
    const to = { host: '127.0.0.1', port: message.port };
    outbox = await Outbox.connect({ to, secret, device, dataBytes, wait: 'busy', reconnectMs: 0 });
    const samples = await pingPong(inbox, outbox, sizeBytes, iterations, signal);
    samples.sort();
    const at = (share: number) => round3(percentile(samples, share));
    return {
      test: 'ring-lat',
      device: options.device,
      peer: null,
      sizeBytes,
      iterations,
      latencyUs: { p50: at(0.5), p99: at(0.99), p999: at(0.999) },
      messagesPerSecond: null,
      gigabytesPerSecond: null,
    };
  } finally {
    await outbox?.close();
    await inbox.close();
    device.close();
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
  }
}

async function pingPong(
  inbox: Inbox,
  outbox: Outbox,
  sizeBytes: number,
  iterations: number,
  signal: AbortSignal | undefined,
): Promise<Float64Array> {
  const payload = new Uint8Array(sizeBytes).fill(0x5a);
  const samples = new Float64Array(iterations);
  const warmUp = Math.ceil(iterations / 10);
  let received = 0;
  const visit = (lane: Lane) => {
    received++;
    lane.release(lane.sequence);
    lane.acknowledge(lane.sequence);
  };
  let polls = 0;
  const poll = () => {
    inbox.poll(visit);
    if (++polls % POLLS_PER_OUTBOX_POLL === 0) outbox.poll();
  };
  for (let i = 0; i < warmUp + iterations; i++) {
    if (i % TURN_EVERY === 0) await turnUnlessStopped(signal);
    const begin = performance.now();
    let spins = 0;
    while (outbox.trySend(payload) === 0) {
      poll();
      if (++spins % SPINS_BEFORE_CLOCK === 0) await stalled(begin, signal);
    }
    const want = received + 1;
    while (received < want) {
      poll();
      if (++spins % SPINS_BEFORE_CLOCK === 0) await stalled(begin, signal);
    }
    if (i >= warmUp) samples[i - warmUp] = (performance.now() - begin) * 500;
  }
  return samples;
}

async function turnUnlessStopped(signal: AbortSignal | undefined): Promise<void> {
  await turn();
  if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the measurement was stopped');
}

async function stalled(begin: number, signal: AbortSignal | undefined): Promise<void> {
  await turnUnlessStopped(signal);
  if (performance.now() - begin > ECHO_TIMEOUT_MS) {
    throw new RdmaError('RDMA_ERR_TIMEOUT', `the echo process has not answered for ${ECHO_TIMEOUT_MS / 1000} s`);
  }
}
