// What `onepiece top` shows: a snapshot as lines of text.
//
// Invariant: pure. No line is wider than the terminal, and there are no more than it has; what does not fit is said.
// Without colour nothing is lost: states are words.
import type { Snapshot } from '../observe/snapshot.js';
import { sumOf } from '../observe/stage-view.js';
import { bytes, clockTime, count, duration, percent, perSecond } from '../observe/units.js';
import { table } from './table.js';

/** What the terminal can show. */
export interface Screen {
  readonly columns: number;
  /** Infinity: as many as there are. */
  readonly rows: number;
  readonly color: boolean;
  /** Why there is nothing newer; undefined: the snapshot is fresh. */
  readonly trouble?: string | undefined;
}

type Paint = 'bad' | 'warn' | 'good' | 'quiet' | 'strong';
const CODES: Record<Paint, string> = { bad: '31', warn: '33', good: '32', quiet: '2', strong: '1' };

interface Line {
  readonly text: string;
  readonly paint?: Paint | undefined;
}

/** The lines of a snapshot. */
export function topScreen(snapshot: Snapshot, { columns, rows, color, trouble }: Screen): string[] {
  const lines = [...head(snapshot, trouble), ...stages(snapshot), ...edges(snapshot), ...tenants(snapshot)];
  lines.push(...refusals(snapshot), ...reasons(snapshot), ...restarts(snapshot), ...recent(snapshot));
  let shown = lines;
  if (lines.length > rows) {
    const kept = Math.max(0, rows - 1);
    shown = [...lines.slice(0, kept), { text: `${lines.length - kept} more lines`, paint: 'quiet' }];
  }
  return shown.map(({ text, paint }) => {
    const plain = clean(text);
    const cut = plain.length > columns ? `${plain.slice(0, Math.max(0, columns - 1))}…` : plain;
    return color && paint !== undefined ? `\u001b[${CODES[paint]}m${cut}\u001b[0m` : cut;
  });
}

// Names and errors come from elsewhere: nothing in them moves the cursor. Programs that read a table know one space
// only.
function clean(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must go
  return text.replace(/[\u0000-\u001f\u007f-\u00a0]+/g, ' ');
}

const STATES: Record<Snapshot['state'], Paint> = { ready: 'good', degraded: 'warn', down: 'bad', closed: 'bad' };

function head(snapshot: Snapshot, trouble: string | undefined): Line[] {
  const { workflow, state, device, plan, atMs, memory, requests, gateway } = snapshot;
  const all = bytes(memory.laneBytes + memory.processBytes + memory.poolBytes);
  const { perSecond: rates, latency, total } = requests;
  const oldest = gateway.queued > 0 ? `, oldest ${duration(gateway.oldestQueuedMs * 1000)}` : '';
  const lines: Line[] = [
    { text: `${workflow}  ${state}  ${device}, plan ${plan}, ${all}  ${clockTime(atMs)}`, paint: STATES[state] },
    {
      text: `done ${perSecond(rates?.done)}  p50 ${duration(latency?.p50Us)}  p95 ${duration(latency?.p95Us)}  p99 ${duration(latency?.p99Us)}  in flight ${count(gateway.inFlight)}  queued ${count(gateway.queued)}${oldest}`,
      paint: 'strong',
    },
    {
      text: `failed ${perSecond(rates?.failed)} (${count(total.failed)})  late ${perSecond(rates?.late)} (${count(total.late)})  rejected ${perSecond(rates?.rejected)} (${count(total.rejected)})  cancelled ${count(total.cancelled)}`,
      paint: rates !== null && rates.failed + rates.late > 0 ? 'bad' : undefined,
    },
  ];
  if (trouble !== undefined) lines.push({ text: `not connected: ${trouble}`, paint: 'bad' });
  return lines;
}

/** A table below its title; `paints` are those of its rows. */
function block(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  paints: (Paint | undefined)[] = [],
): Line[] {
  if (rows.length === 0) return [];
  const cells = rows.map((row) => row.map(clean));
  const [first, ...rest] = table(header, cells).split('\n');
  return [{ text: '' }, { text: first!, paint: 'quiet' }, ...rest.map((text, i) => ({ text, paint: paints[i] }))];
}

function stages({ stages }: Snapshot): Line[] {
  const rows: string[][] = [];
  const paints: (Paint | undefined)[] = [];
  const reasons = new Map<number, string>(); // below their rows
  for (const { name, instances, busy, tasksPerSecond, queue, compute } of stages) {
    const sum = (pick: (one: (typeof instances)[number]) => number | null) => sumOf(instances.map(pick));
    const bad = instances.filter(({ state }) => state !== 'ready');
    const ready = instances.length - bad.length;
    rows.push([
      name,
      `${ready}/${instances.length} ready`,
      percent(busy),
      perSecond(tasksPerSecond),
      count(sum(({ running }) => running)),
      count(sum((one) => one.ready)),
      duration(queue?.p99Us),
      duration(compute?.p50Us),
      duration(compute?.p99Us),
      count(sum(({ failures }) => failures)),
      count(sum(({ restarts }) => restarts)),
      bytes(sum(({ memoryBytes }) => memoryBytes)),
    ]);
    paints.push(
      bad.some(({ state }) => state === 'broken' || state === 'hung') ? 'bad' : bad.length > 0 ? 'warn' : undefined,
    );
    for (const { name: place, state, reason, busy: share, tasksPerSecond: rate, running, ready: waiting } of bad) {
      if (reason !== undefined) reasons.set(rows.length, `    ${reason}`);
      rows.push([`  ${place}`, state, percent(share), perSecond(rate), count(running), count(waiting)]);
      paints.push(state === 'broken' || state === 'hung' ? 'bad' : 'warn');
    }
  }
  const header = [
    'STAGE',
    'STATE',
    '>BUSY',
    '>TASKS',
    '>RUN',
    '>WAIT',
    '>WAIT P99',
    '>COMPUTE P50',
    '>P99',
    '>FAILED',
    '>RESTARTS',
    '>MEMORY',
  ];
  const lines = block(header, rows, paints);
  const titles = lines.length - rows.length;
  return lines.flatMap((line, i) => {
    const reason = reasons.get(i - titles);
    return reason === undefined ? [line] : [line, { text: reason, paint: 'bad' }];
  });
}

function edges({ edges }: Snapshot): Line[] {
  const rows = edges.map(({ from, to, messagesPerSecond, bytesPerSecond, hop, unacknowledged, backlog }) => [
    from,
    to,
    perSecond(messagesPerSecond),
    bytesPerSecond === null ? bytes(null) : `${bytes(bytesPerSecond)}/s`,
    duration(hop?.p50Us),
    duration(hop?.p99Us),
    count(unacknowledged),
    count(backlog),
  ]);
  return block(['FROM', 'TO', '>MESSAGES', '>IN LANES', '>HOP P50', '>P99', '>UNACKED', '>BACKLOG'], rows);
}

function tenants({ tenants }: Snapshot): Line[] {
  if (tenants.length < 2) return [];
  const rows = tenants.map(({ tenant, queued, done, failed, late, rejected, cancelled }) => [
    tenant,
    ...[queued, done, failed, late, rejected, cancelled].map(count),
  ]);
  return block(['TENANT', '>QUEUED', '>DONE', '>FAILED', '>LATE', '>REJECTED', '>CANCELLED'], rows);
}

function refusals({ gateway }: Snapshot): Line[] {
  const list = Object.entries(gateway.rejected).map(([reason, times]) => `${reason} ${count(times)}`);
  return list.length === 0 ? [] : [{ text: '' }, { text: `refused: ${list.join(', ')}`, paint: 'warn' }];
}

function reasons({ reasons }: Snapshot): Line[] {
  const rows = reasons
    .slice(0, 5)
    .map(({ count: times, outcome, stage, lastAtMs, lastMessage }) => [
      count(times),
      outcome,
      stage ?? '–',
      clockTime(lastAtMs),
      lastMessage,
    ]);
  return block(['>COUNT', 'OUTCOME', 'STAGE', 'LAST', 'WORDS'], rows);
}

function restarts({ restarts }: Snapshot): Line[] {
  const rows = restarts.last
    .slice(0, 3)
    .map(({ stage, instance, reason, at }) => [clockTime(at), `${stage}/${instance}`, reason]);
  return block(['REPLACED', 'INSTANCE', 'REASON'], rows);
}

function recent({ recent }: Snapshot): Line[] {
  const rows = recent
    .slice(0, 10)
    .map((record) => [
      clockTime(record.startedAtMs + record.totalUs / 1000),
      record.request ?? `#${record.number}`,
      record.tenant,
      record.outcome,
      duration(record.totalUs),
      mostOf(record),
    ]);
  return block(['ENDED', 'REQUEST', 'TENANT', 'OUTCOME', '>TOTAL', 'MOST OF IT'], rows);
}

// Why it failed, or what took the longest.
function mostOf({ error, timeline = [] }: Snapshot['recent'][number]): string {
  if (error !== undefined) return error.message;
  const [longest] = [...timeline].sort((a, b) => b.durationUs - a.durationUs);
  if (longest === undefined) return '';
  const { kind, name, durationUs } = longest;
  return `${kind === name ? name : `${kind} ${name}`} ${duration(durationUs)}`;
}
