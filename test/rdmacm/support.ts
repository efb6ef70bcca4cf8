// Invariant: as test/verbs/support.ts: every wait is bounded and looks for what it waits for.
import path from 'node:path';
import { type ChildProcess, fork } from 'node:child_process';
import type { Test } from 'tap';
import {
  type Connection,
  type ConnectionRequest,
  type ConnectOptions,
  connect,
  type Listener,
  listen,
} from '../../src/ts/rdmacm/index.js';
import {
  type CompletionQueue,
  Device,
  formatGid,
  type MemoryRegion,
  type QueuePair,
} from '../../src/ts/verbs/index.js';
import { deviceName, FULL_ACCESS, isSoft, patienceMs } from '../verbs/support.js';

export { deviceName, isSoft, patienceMs };

/** One end: a device and what a connection needs of it. */
export interface End {
  device: Device;
  cq: CompletionQueue;
  mr: MemoryRegion;
  bytes: Uint8Array;
  queuePair: QueuePair;
}

export function openEnd(name = deviceName): End {
  const device = Device.open(name);
  const pd = device.allocateProtectionDomain();
  const cq = device.createCompletionQueue(64);
  const mr = pd.registerMemory({ bytes: 4096, access: FULL_ACCESS });
  const queuePair = pd.createQueuePair({ sendCq: cq, maxSendWr: 16, maxRecvWr: 16 });
  return { device, cq, mr, bytes: new Uint8Array(mr.buffer), queuePair };
}

/** Posts one receive at the start of the end's memory. */
export const receiveInto = (end: End) => () => {
  end.queuePair.receives.into(0, 7, end.mr.address, 64, end.mr.lkey);
  end.queuePair.postReceive(1);
};

/** The IP address of the device that the tests run on. */
export function deviceAddress(): string {
  using device = Device.open(deviceName);
  return formatGid(device.portAddress().gid);
}

export type Codes = { code?: string; reason?: number; privateData?: Uint8Array };

/** What a promise rejects with, or "none". */
export async function failure(promise: Promise<unknown>): Promise<Codes> {
  try {
    await promise;
    return { code: 'none' };
  } catch (error) {
    return error as Codes;
  }
}

export interface Pair extends AsyncDisposable {
  listener: Listener;
  active: Connection;
  passive: Connection;
  a: End;
  b: End;
}

/** Connects two queue pairs of this process through rdma_cm. */
export async function connectedPair(options: Partial<ConnectOptions> = {}): Promise<Pair> {
  const a = openEnd();
  const b = openEnd();
  const listener = await listen({ host: deviceAddress() });
  const { port, address: host } = listener.address;
  const [active, passive] = await Promise.all([
    connect({ host, port, timeoutMs: patienceMs, createQueuePair: () => a.queuePair, ...options }),
    nextRequest(listener).then((request) =>
      request.accept({ queuePair: b.queuePair, postReceives: receiveInto(b), privateData: Buffer.from('welcome') }),
    ),
  ]);
  return {
    listener,
    active,
    passive,
    a,
    b,
    async [Symbol.asyncDispose]() {
      listener.close();
      active.close();
      passive.close();
      a.device.close();
      b.device.close();
    },
  };
}

export async function nextRequest(listener: Listener): Promise<ConnectionRequest> {
  const next = await listener.next();
  if (next.done) throw new Error('the listener closed');
  return next.value;
}

/** Text at the start of private data that is filled up with zeros. */
export const textOf = (bytes: Uint8Array | undefined): string =>
  Buffer.from(bytes ?? [])
    .toString()
    .replace(/\0+$/, '');

/**
 * soft0 is no device of rdma_cm. Where the kernel has no connection manager everything says so, with the remedy; where
 * it has one, a queue pair of soft0 is refused.
 */
export async function refusedOnSoft(t: Test): Promise<void> {
  const end = openEnd('soft0');
  const promise = connect({ host: '127.0.0.1', port: 1, timeoutMs: 2000, createQueuePair: () => end.queuePair });
  const error = await failure(promise);
  t.match(error.code, /^RDMA_ERR_(NO_DEVICE|NOT_SUPPORTED|INVALID_ARGUMENT)$/);
  t.match(String(error), /modprobe|apt-get install|install librdmacm-dev|rdma link|of the device/, 'the remedy');
  const listening = await failure(listen({ host: '127.0.0.1' }).then((listener) => listener.close()));
  t.match(listening.code, /^(none|RDMA_ERR_NO_DEVICE|RDMA_ERR_NOT_SUPPORTED)$/);
  end.device.close();
}

/** Runs a compiled helper of this folder as a child process that cannot outlive this one. */
export function startHelper(name: string, args: string[] = []): ChildProcess {
  const child = fork(path.join(__dirname, `${name}.js`), args, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.removeListener('exit', kill));
  return child;
}
