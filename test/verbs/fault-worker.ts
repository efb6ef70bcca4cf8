// A process of a fault round: runs the traffic of its links, and when another one was stopped or killed revokes all
// that it could reach, fills it with canaries, and looks at them ever after. Invariant: it may be stopped or killed at
// any instruction; what it answers it has seen itself, and what must not be ends it with the reason.
import { readdirSync, readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { AccessFlags, CompletionStatus as Status, Device, type MemoryRegion } from '../../src/ts/verbs/index.js';
import { type Ground, Link } from './fault-link.js';
import {
  between,
  clockMs,
  type Counts,
  type Order,
  type Plan,
  randomFrom,
  type Revoked,
  type Usage,
  WORKERS,
} from './fault-plan.js';
import { codeOf } from './support.js';
import { type Until, waiting } from '../until.js';

const toldWithinMs = 1000;
const patienceMs = 10_000;
const CANARY = 0xc5;

const device = Device.open('soft0');
const address = device.portAddress();
let plan: Plan;
let self = 0;
let ground: Ground;
let links: Link[] = [];
let guard: MemoryRegion;
let running = false;
/** Regions from which nobody may be able to change a byte any more. */
let revoked: MemoryRegion[] = [];
/** Regions in which a peer stood when they were to be revoked. */
let pending: MemoryRegion[] = [];
let canaryBytes = 0;

device.onAsyncEvent((event) => {
  const link = links.find(({ qp }) => qp === event.queuePair);
  if (link !== undefined && event.name === 'QP_FATAL') link.fatalAtMs ??= clockMs();
});

function must(good: boolean, what: string): void {
  if (!good) throw new Error(`process ${self}: ${what}`);
}

const untilHere = waiting({ limitMs: patienceMs, pause: () => turn() });
const until: Until = (what, condition, ms) => untilHere(`process ${self}: ${what}`, condition, ms);

/** Takes what has completed. */
function poll(): void {
  const { cq } = ground;
  const count = cq.poll();
  for (let i = 0; i < count; i++) {
    const { completions: c } = cq;
    const link = links.find(({ qp, closed }) => !closed && qp.qpNum === c.qpNum(i));
    link?.account(c.wrId(i), c.status(i), c.opcode(i));
  }
}

function hasEnded(link: Link): boolean {
  poll();
  return link.outstanding === 0;
}

/** Memory of this round becomes the caller's again: from now on every byte is the canary. */
function protect(mr: MemoryRegion): void {
  mr.bytes.fill(CANARY);
  revoked.push(mr);
}

function tryRevoke(mr: MemoryRegion): boolean {
  const code = codeOf(() => mr.deregister());
  must(code === 'none' || code === 'EBUSY', `deregister answers ${code}`);
  if (code === 'none') protect(mr);
  return code === 'none';
}

function revokeOrKeep(mr: MemoryRegion): boolean {
  if (tryRevoke(mr)) return true;
  if (plan.abandons && codeOf(() => mr.close()) === 'none') {
    // The region that replaces it in this process is not the one in which the peer has stopped.
    const { pd } = ground;
    protect(pd.registerMemory({ bytes: mr.byteLength, access: AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE }));
  } else pending.push(mr);
  return false;
}

function checkCanaries(): void {
  for (const { bytes } of [...revoked, guard]) {
    const good = Buffer.alloc(bytes.length, CANARY);
    if (good.equals(bytes)) continue;
    const at = bytes.findIndex((byte) => byte !== CANARY);
    must(false, `byte ${at} of ${bytes.length} of revoked memory changed to ${bytes[at]}`);
  }
  canaryBytes += revoked.reduce((sum, { byteLength }) => sum + byteLength, 0);
}

/** Regions come and go while peers use them. */
function change(): void {
  const { pd, random } = ground;
  for (const { isSteady, regions, closed } of links) {
    if (isSteady || closed || random() > 0.02) continue;
    const at = between(random, 0, 1);
    const old = regions[at]!;
    if (!tryRevoke(old)) pending.push(old);
    regions[at] = pd.registerMemory({
      bytes: old.byteLength,
      access: AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE,
    });
  }
  pending = pending.filter((mr) => !tryRevoke(mr));
}

async function runTraffic(): Promise<void> {
  while (running) {
    poll();
    for (const link of links) {
      link.post();
      // Nothing that the others say waits for more than the copies of one link.
      await turn();
      if (!running) return;
    }
    change();
  }
}

function setUp(): unknown {
  const pd = device.allocateProtectionDomain();
  const cq = device.createCompletionQueue(1024);
  const scratch = pd.registerMemory({ bytes: 1 << 20 });
  ground = { pd, cq, address, scratch, random: randomFrom(plan.seed * 16 + self + 1) };
  guard = pd.registerMemory({ bytes: 1 << 16, access: AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE });
  guard.bytes.fill(CANARY);
  links = [];
  for (let peer = 0; peer < WORKERS; peer++) {
    if (peer === self) continue;
    for (let n = 0; n <= plan.wildLinks; n++) links.push(new Link(ground, peer, n === 0, plan.largeBytes));
  }
  return Array.from({ length: WORKERS }, (_, peer) => linksTo(peer).map((link) => link.socket()));
}

const linksTo = (peer: number) => links.filter((link) => link.peer === peer);

/** The peer was killed: each link to it says so in time, by an event and by a completion. */
async function hearOfDeath(peer: number, killedAtMs: number): Promise<number> {
  let slowestMs = 0;
  for (const link of linksTo(peer)) {
    await until('an event says that the peer is dead', () => link.fatalAtMs !== undefined, patienceMs);
    slowestMs = Math.max(slowestMs, link.fatalAtMs! - killedAtMs);
    if (link.failedWith === undefined && link.outstanding === 0) link.probe();
    await until(
      'a completion says that the peer is dead',
      () => {
        poll();
        return link.outstanding === 0 || link.failedWith !== undefined;
      },
      patienceMs,
    );
    if (link.failedWith === undefined) {
      // All that was under way had succeeded.
      link.probe();
      await until('a later request fails as the peer is dead', () => hasEnded(link), patienceMs);
    }
    slowestMs = Math.max(slowestMs, clockMs() - killedAtMs);
    const first = link.failedWith;
    must(!link.isSteady || first === Status.RETRY_EXCEEDED, `a request to the dead ended with status ${first}`);
    must(link.lost <= 1, `${link.lost} requests completed as the first to be lost`);
  }
  must(slowestMs < toldWithinMs, `it took ${slowestMs.toFixed(0)} ms until both had said that the peer is dead`);
  return slowestMs;
}

function revoke(peer: number): Revoked {
  const result = { revoked: 0, busy: 0 };
  for (const link of linksTo(peer)) {
    link.close();
    for (const mr of link.regions) result[revokeOrKeep(mr) ? 'revoked' : 'busy']++;
  }
  return result;
}

/** Whoever was in the way is gone or has gone on. */
async function settle(): Promise<void> {
  await until(
    'all memory is revoked',
    () => {
      pending = pending.filter((mr) => !tryRevoke(mr));
      return pending.length === 0;
    },
    patienceMs,
  );
  const later = clockMs() + between(ground.random, 5, 25);
  await until('some time has passed', () => clockMs() > later, patienceMs);
  checkCanaries();
}

async function drain(gone: number): Promise<true> {
  running = false;
  const alive = links.filter(({ peer, isSteady }) => isSteady && peer !== gone && self !== gone);
  await until('all requests have ended', () => alive.every(hasEnded), patienceMs);
  for (const { failedWith, peer } of alive)
    must(failedWith === undefined, `status ${failedWith} of a request to ${peer}`);
  return true;
}

function count(): Counts {
  poll();
  const counts: Counts = { added: [], sent: [], found: [], received: [], operations: 0 };
  for (const link of links) {
    counts.operations += link.operations;
    if (!link.isSteady) continue;
    counts.added[link.peer] = link.added;
    counts.sent[link.peer] = link.sent;
    counts.found[link.peer] = link.closed ? -1 : link.found();
    counts.received[link.peer] = link.received;
  }
  return counts;
}

function usage(): Usage {
  const maps = readFileSync('/proc/self/maps', 'latin1').split('\n');
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    mappings: maps.filter((line) => line.includes('onepiece-')).length,
    canaryBytes,
  };
}

async function close(): Promise<Usage> {
  for (const link of links) {
    link.close();
    link.closeInbox();
    for (const mr of link.regions) if (!revoked.includes(mr) && !pending.includes(mr) && !mr.closed) revokeOrKeep(mr);
  }
  await settle();
  const { pd, cq } = ground;
  // The places of queue pairs in which a peer stood are looked at when the next one is made.
  pd.createQueuePair({ sendCq: cq }).close();
  pd.close();
  cq.close();
  links = [];
  revoked = [];
  pending = [];
  await turn();
  return usage();
}

async function obey(order: Order): Promise<unknown> {
  switch (order.do) {
    case 'setup':
      ({ plan, self } = order);
      return setUp();
    case 'connect':
      for (let peer = 0; peer < WORKERS; peer++) {
        for (const [n, link] of linksTo(peer).entries()) link.connect(order.sockets[peer]![n]!);
      }
      return true;
    case 'run':
      running = true;
      runTraffic().catch(end);
      return true;
    case 'hear of death':
      return await hearOfDeath(order.peer, order.killedAtMs);
    case 'revoke':
      return revoke(order.peer);
    case 'settle':
      await settle();
      return true;
    case 'drain':
      return await drain(order.gone);
    case 'count':
      return count();
    case 'close':
      return await close();
  }
}

function end(error: unknown): void {
  process.send?.({ failed: error instanceof Error ? error.stack : String(error) });
  process.exitCode = 1;
  process.disconnect?.();
  process.exit();
}

/**
 * The engine's thread and what else is there once for all; after this, descriptors and mappings come back to what they
 * are.
 */
function warmUp(): void {
  const pd = device.allocateProtectionDomain();
  const cq = device.createCompletionQueue(16);
  const qp = pd.createQueuePair({ sendCq: cq });
  qp.connect(address, qp.endpoint(address));
  pd.close();
  cq.close();
}

process.on('disconnect', () => process.exit(0));
process.on('message', (order: Order) => {
  obey(order).then((answer) => process.send?.({ answer }), end);
});
warmUp();
setImmediate(() => process.send?.({ answer: usage() }));
