// Proves that handlers and callbacks that do what they should not harm nobody else: messages of theirs to the parent,
// processes that they leave, errors of onEvent; and that nobody sees the secret.
import { readFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { inspect } from 'node:util';
import t from 'tap';
import type { PipelineEvent } from '../../src/ts/cluster/index.js';
import { DEVICE, until, within } from '../pipeline/support.js';
import { careless } from './faulty.js';
import { alive, gone, idle, start } from './support.js';

async function spawned(pipeline: {
  run: (request: object) => Promise<{ outputs: { meta: object }[] }>;
}): Promise<number> {
  const { outputs } = await within('a result', pipeline.run({ meta: { act: 'spawn' } }));
  const { pid } = outputs[0]!.meta as { pid: number };
  t.ok(alive(pid), 'it runs');
  return pid;
}

void t.test('what a handler sends to the parent is no message of ours', async (t) => {
  const { pipeline } = await start(t, careless);
  for (const act of ['send', 'none']) await within('a result', pipeline.run({ meta: { act } }));
  t.same(pipeline.restarts, []);
  await idle(pipeline);
});

void t.test('what a handler has started ends with its process: killed, replaced or closed', async (t) => {
  const { pipeline } = await start(t, careless);
  const first = await spawned(pipeline);
  process.kill(pipeline.processes[0]!.pid, 'SIGKILL');
  await gone([first]);
  const second = await spawned(pipeline);
  await within('the close', pipeline.close());
  await gone([second]);
});

// A parent of its own, that is ended from outside.
const PARENT = `
  const { LocalPipeline } = require(process.argv[1]);
  const { careless } = require(process.argv[2]);
  LocalPipeline.start(careless, { device: process.argv[3] }).then(async (pipeline) => {
    const { outputs } = await pipeline.run({ meta: { act: 'spawn' } });
    process.stdout.write(JSON.stringify([outputs[0].meta.pid, pipeline.processes[0].pid]) + '\\n');
    process.stdin.on('data', () => process.exit(0));
  });
`;

void t.test('and with the parent, whatever ends that', async (t) => {
  for (const end of ['SIGKILL', 'SIGTERM', 'exit'] as const) {
    const files = ['../../src/ts/cluster/index.js', './faulty.js'].map((file) => require.resolve(file));
    const child = spawn(process.execPath, ['-e', PARENT, ...files, DEVICE], { stdio: ['pipe', 'pipe', 'inherit'] });
    let printed = '';
    child.stdout.on('data', (chunk) => {
      printed += chunk;
    });
    await until('the processes', () => printed.endsWith('\n'), 30_000);
    const pids = JSON.parse(printed) as number[];
    t.ok(pids.every(alive));
    if (end === 'exit') child.stdin.write('now\n');
    else child.kill(end);
    await gone(pids);
    t.pass(end);
  }
});

void t.test('an onEvent that fails ends no process and no request, and is warned of once', async (t) => {
  const warnings: NodeJS.ErrnoException[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  t.teardown(() => process.off('warning', onWarning));
  const callbacks = [
    () => {
      throw new Error('of the callback');
    },
    async () => Promise.reject(new Error('of the callback')),
  ];
  for (const onEvent of callbacks as ((event: PipelineEvent) => void)[]) {
    warnings.length = 0;
    const { pipeline } = await start(t, careless, { onEvent });
    for (let i = 0; i < 3; i++) await within('a result', pipeline.run({}));
    process.kill(pipeline.processes[0]!.pid, 'SIGKILL');
    await within('a result', pipeline.run({}));
    t.match(warnings, [{ code: 'ONEPIECE_CALLBACK', message: /onEvent failed.*of the callback/s }]);
    t.equal(warnings.length, 1);
    await within('the close', pipeline.close());
  }
});

void t.test('one signal may stand for any number of requests', async (t) => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  t.teardown(() => process.off('warning', onWarning));
  const { pipeline } = await start(t, careless);
  const { signal } = new AbortController();
  await within('the results', Promise.all(Array.from({ length: 40 }, () => pipeline.run({}, { signal }))));
  await new Promise(setImmediate);
  t.same(warnings, []);
});

/** Every text that can be reached through properties, as console.log() and debuggers do; short bytes as text too. */
function reachable(root: object): string[] {
  const texts: string[] = [];
  const seen = new Set<unknown>();
  const waiting: unknown[] = [root];
  while (waiting.length > 0) {
    const value = waiting.pop();
    if (typeof value === 'string') texts.push(value);
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value)) continue;
    seen.add(value);
    if (ArrayBuffer.isView(value)) {
      const { buffer, byteOffset, byteLength } = value;
      if (byteLength <= 4096) texts.push(Buffer.from(buffer, byteOffset, byteLength).toString('latin1'));
      continue;
    }
    if (value instanceof Map) waiting.push(...value.keys(), ...value.values());
    if (value instanceof Set) waiting.push(...value);
    for (const key of Reflect.ownKeys(value)) waiting.push(Object.getOwnPropertyDescriptor(value, key)?.value);
  }
  return texts;
}

void t.test('the secret is in no picture of a pipeline, and in no process that others look at', async (t) => {
  const { pipeline } = await start(t, careless);
  const { pid } = pipeline.processes[0]!;
  const secret = /(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/; // of 32 bytes
  const texts = reachable(pipeline);
  t.ok(texts.length > 100, `${texts.length} texts`);
  t.same(
    texts.filter((text) => secret.test(text)),
    [],
  );
  t.notMatch(inspect(pipeline, { depth: 6 }), secret);
  t.match(inspect(pipeline, { depth: 6 }), /secret: \[secret\]/);
  for (const file of ['environ', 'cmdline', 'comm']) t.notMatch(readFileSync(`/proc/${pid}/${file}`, 'latin1'), secret);
  const { outputs } = await within('a result', pipeline.run({ meta: { act: 'environment' } }));
  t.notMatch(String(outputs[0]?.meta.text), secret);
});
