// A tiny run of a peer in every shape. Not a test.
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import t, { type Test } from 'tap';
import { pipelinePeersNamed } from '../../../bench/peers/pipeline/peers.js';
import { treeOf } from '../../../src/ts/bench/kit/processes.js';
import { places, type Shape } from '../../../src/ts/bench/pipeline/shape.js';
import type { PipelineTask } from '../../../src/ts/bench/pipeline/settings.js';
import { lacking } from '../support.js';

const left = () =>
  [tmpdir(), '/dev/shm'].flatMap((path) => readdirSync(path).filter((name) => /onepiece-(mpi|bench)|ompi/.test(name)));

/** Runs a peer under load in each shape and after rests, and looks at what it leaves behind. */
export function provePeer(name: string, version: RegExp): void {
  const [peer] = pipelinePeersNamed([name]);
  const skip = lacking(() => peer!.check());

  void t.test(`${name} tells its version`, { skip }, async (t) => {
    t.match(peer!.check(), version);
  });

  const cases: [Shape, number, number][] = [
    ['chain', 64, 1],
    ['chain', 100_003, 3],
    ['diamond', 64, 1],
    ['diamond', 100_003, 3],
    ['shard', 100_003, 3],
  ];
  for (const [shape, sizeBytes, inFlight] of cases) {
    const title = `${name}, ${shape}: ${inFlight} x ${sizeBytes} bytes are answered, and nothing is left`;
    void t.test(title, { skip }, (t) => prove(t, name, shape, sizeBytes, { do: 'load', inFlight, seconds: 1 }));
  }
  void t.test(`${name}: requests after rests are answered`, { skip }, (t) =>
    prove(t, name, 'chain', 64, { do: 'rest', restMs: 20, seconds: 1 }),
  );

  void t.test(`${name} can be stopped`, { skip }, async (t) => {
    const before = { files: left(), processes: treeOf(process.pid) };
    const open = await peer!.open();
    const plan = { shape: 'chain', sizeBytes: 64, task: { do: 'load', inFlight: 1, seconds: 60 } } as const;
    await t.rejects(open.measure(plan, AbortSignal.timeout(2500)), { code: 'RDMA_ERR_ABORTED' });
    await open.close();
    await nobodyLeft(t, before.processes);
    t.strictSame(left(), before.files);
  });
}

/** Runs its chain of streaming stages, whole and in pieces of any length. */
export function proveStreams(name: string): void {
  const skip = lacking(() => pipelinePeersNamed([name])[0]!.check());
  for (const [sizeBytes, pieces] of [
    [64, 1],
    [100_003, 64],
    [2 ** 20, 1024],
  ] as const) {
    void t.test(`${name}, streams: ${sizeBytes} bytes in ${pieces} pieces are answered`, { skip }, (t) =>
      prove(t, name, 'chain', sizeBytes, { do: 'stream', pieces, seconds: 1 }),
    );
  }
}

async function prove(t: Test, name: string, shape: Shape, sizeBytes: number, task: PipelineTask): Promise<void> {
  const [peer] = pipelinePeersNamed([name]);
  const before = { files: left(), processes: treeOf(process.pid) };
  const open = await peer!.open();
  const measured = await open.measure({ shape, sizeBytes, task });
  await open.close();
  const { requests, seconds, cpuUs, samplesUs, rssKib, pssKib } = measured;
  const wanted = task.do === 'rest' ? 50 : 1;
  t.ok(requests >= wanted && samplesUs.length > 0 && samplesUs.length <= requests, `${requests} requests`);
  t.ok(seconds >= 0.99 && cpuUs > 0, `${cpuUs} us in ${seconds} s`);
  t.ok(samplesUs.every((us) => us > 0.5 && us < 10e6));
  // A process for the source and one for each place, each with more than 5 MiB.
  t.ok(rssKib > (places[shape].length + 1) * 5 * 1024 && pssKib > 0 && pssKib <= rssKib, `${rssKib}, ${pssKib}`);
  await nobodyLeft(t, before.processes);
  t.strictSame(left(), before.files);
}

async function nobodyLeft(t: Test, before: readonly number[]): Promise<void> {
  const end = performance.now() + 5000;
  const more = () => treeOf(process.pid).filter((pid) => !before.includes(pid));
  while (more().length > 0 && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  t.strictSame(more(), [], 'no process is left');
}
