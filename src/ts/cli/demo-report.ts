// What the demo says at its end: as a table, and as a document.
//
// Invariant: both say the same; a time is what the stages measured, in the unit of its name.
import { machine, type Machine } from '../bench/kit/machine.js';
import { percentile, round3 } from '../bench/kit/statistics.js';
import type { Restart } from '../cluster/index.js';
import type { Trace, Workflow } from '../pipeline/index.js';
import { bytes, table } from './table.js';

export interface StageReport {
  stage: string;
  instances: number;
  /** Tasks begun, those that began again after a death included. */
  tasks: number;
  computeMs: number;
  queueMs: number;
  bytesIn: number;
  device: string;
}

export interface HopReport {
  from: string;
  to: string;
  messages: number;
  bytes: number;
  device: string;
  /** Null when sender and receiver do not share a clock. */
  us: { p50: number; p99: number } | null;
}

export interface DemoReport {
  schemaVersion: 1;
  machine: Machine;
  device: string;
  elapsedMs: number;
  stages: StageReport[];
  hops: HopReport[];
  restarts: Restart[];
  output: {
    path: string;
    format: string;
    bytes: number;
    sha256: string;
    width: number;
    height: number;
    frames: number;
    fps: number;
    seed: number;
    prompt: string;
  };
}

export interface DemoFigures {
  workflow: Workflow;
  trace: Trace;
  tasksBegun: ReadonlyMap<string, number>;
  restarts: readonly Restart[];
  device: string;
  elapsedMs: number;
  output: DemoReport['output'];
}

export function demoReport(figures: DemoFigures): DemoReport {
  const { workflow, trace } = figures;
  const stages = workflow.stages.map(({ name, instances }) => {
    const tasks = trace.tasks.filter((task) => task.stage === name);
    const hops = trace.hops.filter((hop) => hop.to === name);
    return {
      stage: name,
      instances,
      tasks: figures.tasksBegun.get(name) ?? tasks.length,
      computeMs: round3(tasks.reduce((sum, task) => sum + task.computeUs, 0) / 1000),
      queueMs: round3(tasks.reduce((sum, task) => sum + task.queueUs, 0) / 1000),
      bytesIn: hops.reduce((sum, hop) => sum + hop.bytes, 0),
      device: figures.device,
    };
  });
  return {
    schemaVersion: 1,
    machine: machine(),
    device: figures.device,
    elapsedMs: Math.round(figures.elapsedMs),
    stages,
    hops: hopReports(trace, figures.device),
    restarts: [...figures.restarts],
    output: figures.output,
  };
}

function hopReports(trace: Trace, device: string): HopReport[] {
  const pairs = new Map<string, Trace['hops']>();
  for (const hop of trace.hops) {
    const key = `${hop.from} ${hop.to}`;
    pairs.set(key, [...(pairs.get(key) ?? []), hop]);
  }
  return [...pairs.values()].map((hops) => {
    const { from, to } = hops[0]!;
    const us = hops.flatMap((hop) => hop.us ?? []).sort((a, b) => a - b);
    return {
      from,
      to,
      messages: hops.length,
      bytes: hops.reduce((sum, hop) => sum + hop.bytes, 0),
      device,
      us: us.length === 0 ? null : { p50: round3(percentile(us, 0.5)), p99: round3(percentile(us, 0.99)) },
    };
  });
}

/** The report for people. */
export function demoText(report: DemoReport): string {
  const { output, stages, hops, restarts } = report;
  const ms = (value: number) => value.toFixed(value < 10 ? 2 : 1);
  const stageTable = table(
    ['STAGE', '>INSTANCES', '>TASKS', '>COMPUTE ms', '>QUEUED ms', '>MOVED IN', 'DEVICE'],
    stages.map((s) => [
      s.stage,
      String(s.instances),
      String(s.tasks),
      ms(s.computeMs),
      ms(s.queueMs),
      bytes(s.bytesIn),
      s.device,
    ]),
  );
  const hopTable = table(
    ['FROM', 'TO', '>MESSAGES', '>MOVED', '>p50 us', '>p99 us', 'DEVICE'],
    hops.map((h) => [
      h.from,
      h.to,
      String(h.messages),
      bytes(h.bytes),
      h.us?.p50.toFixed(0) ?? '-',
      h.us?.p99.toFixed(0) ?? '-',
      h.device,
    ]),
  );
  const restartLines =
    restarts.length === 0
      ? 'Restarts: none'
      : ['Restarts:', ...restarts.map((r) => `  ${r.stage}/${r.instance} was replaced (${r.reason})`)].join('\n');
  const clip = `${output.path}: ${output.width}x${output.height}, ${output.frames} frames at ${output.fps}/s, ${bytes(output.bytes)}`;
  return `${stageTable}\n\nBetween stages\n${hopTable}\n\n${restartLines}\n${clip}, ${(report.elapsedMs / 1000).toFixed(1)} s on ${report.device}\n`;
}
