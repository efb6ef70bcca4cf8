// Invariant: every helper waits for what it waits for, looking again and again until a deadline, and never by a pause.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { finished } from 'node:stream/promises';
import { setImmediate as turn } from 'node:timers/promises';
import {
  AccessFlags,
  type CompletionQueue,
  type ConnectOptions,
  Device,
  type MemoryRegion,
  type PortAddress,
  type ProtectionDomain,
  type QueuePair,
  type QueuePairOptions,
} from '../../src/ts/verbs/index.js';
import { waiting } from '../until.js';

export const deviceName = process.env.ONEPIECE_DEVICE ?? 'soft0';
export const isSoft = deviceName === 'soft0';
/** Bounds every wait; JavaScript runs an order of magnitude slower in the guest that has rxe0. */
export const patienceMs = isSoft ? 10_000 : 60_000;
/** Every remote right but that to atomics. */
export const FULL_ACCESS = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE | AccessFlags.REMOTE_READ;
export const EVERY_ACCESS = FULL_ACCESS | AccessFlags.REMOTE_ATOMIC;

/** A completion as an object, for comparing. */
export interface Wc {
  wrId: number;
  status: number;
  opcode: number;
  byteLength: number;
  imm: number;
  qpNum: number;
  flags: number;
}

/** One end of a connection with everything below it. */
export interface Side {
  device: Device;
  address: PortAddress;
  pd: ProtectionDomain;
  cq: CompletionQueue;
  mr: MemoryRegion;
  bytes: Uint8Array;
  qp: QueuePair;
}

export interface SideOptions extends Partial<QueuePairOptions> {
  bytes?: number;
  access?: number;
}

export function openSide(options: SideOptions = {}): Side {
  const { bytes = 65536, access = FULL_ACCESS, ...more } = options;
  const device = Device.open(deviceName);
  const address = device.portAddress();
  const pd = device.allocateProtectionDomain();
  const cq = device.createCompletionQueue(1024);
  const mr = pd.registerMemory({ bytes, access });
  const qp = pd.createQueuePair({ sendCq: cq, maxSendSge: 4, maxRecvSge: 4, ...more });
  return { device, address, pd, cq, mr, bytes: new Uint8Array(mr.buffer), qp };
}

/** Connects two sides of one process, with every right on both unless `options` say otherwise. */
export function connectSides(a: Side, b: Side, options: ConnectOptions = {}): void {
  const full = { access: FULL_ACCESS, ...options };
  a.qp.connect(a.address, b.qp.endpoint(b.address), full);
  b.qp.connect(b.address, a.qp.endpoint(a.address), full);
}

/** Two connected sides; `using` them closes both. */
export function openPair(options: SideOptions = {}, connect: ConnectOptions = {}) {
  const a = openSide(options);
  const b = openSide(options);
  connectSides(a, b, connect);
  return {
    a,
    b,
    [Symbol.dispose]() {
      a.device.close();
      b.device.close();
    },
  };
}

export function readCompletions(cq: CompletionQueue, count: number): Wc[] {
  const { completions: c } = cq;
  return Array.from({ length: count }, (_, i) => ({
    wrId: c.wrId(i),
    status: c.status(i),
    opcode: c.opcode(i),
    byteLength: c.byteLength(i),
    imm: c.imm(i),
    qpNum: c.qpNum(i),
    flags: c.flags(i),
  }));
}

/** Polls until `count` completions have come; fails with what there is when they do not. */
export async function take(cq: CompletionQueue, count = 1): Promise<Wc[]> {
  const taken: Wc[] = [];
  const deadline = performance.now() + patienceMs;
  for (;;) {
    taken.push(...readCompletions(cq, cq.poll(Math.min(256, count - taken.length))));
    if (taken.length >= count) return taken;
    if (performance.now() > deadline) {
      throw new Error(`${count} completions did not come; these did: ${JSON.stringify(taken)}`);
    }
    await turn();
  }
}

export async function takeOne(cq: CompletionQueue): Promise<Wc> {
  return (await take(cq, 1))[0]!;
}

/** Waits in turns of the event loop. */
export const until = waiting({ limitMs: patienceMs, pause: () => turn() });

/** The `code` of what `run` throws, or "none". */
export function codeOf(run: () => unknown): string {
  try {
    run();
    return 'none';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

/** A repeatable pattern in which every byte depends on its place and on `seed`. */
export function fill(bytes: Uint8Array, seed: number): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 31 + (i >>> 8) * 7 + seed) & 0xff;
}

/** Whether `bytes` is what fill() makes of it. */
export function isFilled(bytes: Uint8Array, seed: number): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== ((i * 31 + (i >>> 8) * 7 + seed) & 0xff)) return false;
  return true;
}

/** Runs a compiled helper of this folder as a child process that cannot outlive this one. */
export function startHelper(name: string, args: string[] = [], execArgv: string[] = []): ChildProcess {
  const child = fork(path.join(__dirname, `${name}.js`), args, { execArgv, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.removeListener('exit', kill));
  return child;
}

/** The next message of a child; fails when it ends instead. */
export async function message<T>(child: ChildProcess): Promise<T> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), patienceMs);
  const gone = once(child, 'exit', { signal: abort.signal }).then(([code, signal]) => {
    throw new Error(`the helper ended with ${code ?? signal}`);
  });
  gone.catch(() => undefined);
  try {
    const [value] = (await Promise.race([once(child, 'message', { signal: abort.signal }), gone])) as [T];
    return value;
  } finally {
    clearTimeout(timer);
    abort.abort();
  }
}

/** How a child ended and what it printed; one that does not end is killed and reported as "hung". */
export async function ended(child: ChildProcess, timeoutMs = patienceMs): Promise<{ how: string; output: string }> {
  let output = '';
  child.stdout?.on('data', (text) => (output += text));
  child.stderr?.on('data', (text) => (output += text));
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    child.kill('SIGKILL');
  }, timeoutMs);
  // Not 'close': Node.js 20 does not emit it after disconnect().
  const exited = child.exitCode !== null || child.signalCode !== null ? undefined : once(child, 'exit');
  const streams = [child.stdout, child.stderr].filter((stream) => stream !== null);
  await Promise.all([exited, ...streams.map((stream) => finished(stream))]);
  const { exitCode: code, signalCode: signal } = child;
  clearTimeout(timer);
  return { how: hung ? 'hung' : String(code ?? signal), output };
}
