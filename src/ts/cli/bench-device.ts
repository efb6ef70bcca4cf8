// `onepiece bench device`.
//
// Invariant: every figure printed was measured in this run; nothing is remembered or estimated.
import { Command, InvalidArgumentError } from 'commander';
import { type DeviceTest, deviceTests } from '../bench/device/tests.js';
import { defaultOptions, MAX_COPY_BYTES, measureDevice } from '../bench/device/measure.js';
import type { DevicePeer } from '../bench/device/peer.js';
import { comparisonOf, type DeviceComparison, type DeviceResult } from '../bench/device/result.js';
import { report } from '../bench/kit/report.js';
import { addCompare, comparedWith, type PeersOf } from './bench-compare.js';
import { interruptible } from './exit.js';
import { integer, listOf, sizes } from './options.js';
import { Progress } from './progress.js';
import { bytes, table } from './table.js';

interface Flags {
  device: string;
  only?: DeviceTest[];
  iterations: number;
  size: number[];
  idleSeconds: number;
  compare?: string[];
  json?: true;
}

/** 2: without goals. */
const SCHEMA_VERSION = 2;
const peersOf: PeersOf<DevicePeer> = ({ devices }) => devices;

export function deviceBenchCommand(setExitCode: (code: number) => void): Command {
  const command = new Command('device')
    .description('what a device does between the JavaScript of two processes')
    .option('-d, --device <name>', 'the RDMA device', 'soft0')
    .option('--only <tests>', `some of ${deviceTests.join(',')}`, listOf(deviceTests))
    .option('--iterations <count>', 'samples of the smallest requests', integer(100, 1e7), defaultOptions.iterations)
    .option('--size <bytes>', 'sizes of write-copy, such as 1m,4m,64m', copySizes, defaultOptions.copySizes)
    .option('--idle-seconds <count>', 'how long the idle process is looked at', integer(1, 3600), 2)
    .option('--json', 'print one JSON document instead of the table')
    .action(async (flags: Flags) => setExitCode(await run(flags)));
  return addCompare(command, peersOf);
}

function copySizes(text: string): number[] {
  const wanted = sizes(MAX_COPY_BYTES)(text);
  if (wanted.some((size) => size < 4)) throw new InvalidArgumentError('Give sizes of at least 4 bytes.');
  return wanted;
}

function run(flags: Flags): Promise<number> {
  return interruptible(async (signal) => {
    const { device, iterations, size, idleSeconds, compare, only = deviceTests } = flags;
    const peers = comparedWith(compare, peersOf);
    for (const peer of peers) peer.check();
    const progress = new Progress();
    const onStep = (words: string) => progress.update(words);
    const common = { device, tests: only, iterations, copySizes: size, signal, onStep };
    let results: DeviceResult[];
    try {
      results = await measureDevice({ ...common, idleSeconds });
      for (const peer of peers) results.push(...(await peer.measure(common)));
    } finally {
      progress.clear();
    }
    const others = results.filter(({ peer }) => peer !== null);
    const comparisons = others.flatMap((theirs) => comparisonOf(results, theirs) ?? []);
    process.stdout.write(
      flags.json
        ? `${JSON.stringify({ ...report(results, SCHEMA_VERSION), comparisons }, null, 2)}\n`
        : text(device, results, comparisons),
    );
  });
}

const words: Record<DeviceTest, (size: string) => string> = {
  'write-seen': (size) => `WRITE of ${size} until the target sees it`,
  'write-batch': (size) => `WRITEs of ${size} in batches of 64`,
  'write-copy': (size) => `WRITE of ${size}`,
  read: (size) => `READ of ${size}, round trip`,
  wake: () => 'a sleeping target wakes',
  'event-loop': (size) => `longest stop of the event loop, WRITE of ${size}`,
  idle: () => 'an idle process with an open device',
};

function text(device: string, results: readonly DeviceResult[], comparisons: readonly DeviceComparison[]): string {
  const us = (value: number | null) => (value === null ? '' : value.toFixed(value < 100 ? 2 : 0));
  const rows: string[][] = [];
  for (const ours of results.filter(({ peer }) => peer === null)) {
    const { test, sizeBytes, latencyUs, figure } = ours;
    rows.push([
      words[test](bytes(sizeBytes)),
      us(latencyUs.p50),
      us(latencyUs.p99),
      us(latencyUs.p999),
      figure === null ? '' : `${decimals(figure.value)} ${figure.unit}`,
    ]);
    const others = results.filter((r) => r.peer !== null && r.test === test && r.sizeBytes === sizeBytes);
    for (const theirs of others) {
      const { peer, latencyUs: their, messagesPerSecond } = theirs;
      const ratio = comparisons.find((c) => c.test === test && c.sizeBytes === sizeBytes && c.peer === peer)?.ratio;
      const rate = messagesPerSecond === null ? '' : `${decimals(messagesPerSecond / 1e6)} million/s`;
      const to = ratio === undefined ? '' : `ours is ${decimals(ratio)} of it`;
      rows.push([`  ${peer}`, us(their.p50), us(their.p99), us(their.p999), rate, to]);
    }
  }
  const header = ['', '>p50 us', '>p99 us', '>p99.9 us', '>FIGURE', 'OURS TO IT'];
  const details = results
    .filter(({ details }) => Object.keys(details).length > 0)
    .map(
      ({ test, details }) =>
        `${test}: ${Object.entries(details)
          .map(([name, value]) => `${name} ${decimals(value)}`)
          .join(', ')}`,
    );
  return `${device}, two processes, JavaScript to JavaScript\n${table(header, rows)}\n\n${details.join('\n')}\n`;
}

const decimals = (value: number) => (value >= 100 ? value.toFixed(0) : value.toFixed(2));
