// Proves how a pipeline of processes begins and ends: what cannot begin says why and leaves nothing; what is closed or
// fails answers every request; no process outlives the one that started it; stdout stays the parent's.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { LocalPipeline, type LocalPipelineOptions } from '../../src/ts/cluster/index.js';
import { RdmaError, type Workflow, workflow } from '../../src/ts/pipeline/index.js';
import { broken } from '../pipeline/broken-module.js';
import { DEVICE, until, within } from '../pipeline/support.js';
import { diamond, diamondRequest, hidden, obedient } from '../pipeline/workflows.js';
import { children, gone, idle, start } from './support.js';

const failure = (promise: Promise<unknown>): Promise<RdmaError> =>
  promise.then(
    () => new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'it did not fail'),
    (error: RdmaError) => error,
  );

void t.test('a pipeline that cannot start says why and leaves no process', async (t) => {
  const missing = workflow('missing', { module: '/nowhere/at/all.js' }).stage('a', { handler: () => ({}) });
  const empty = workflow('empty', { module: __filename });
  const cases: [string, Workflow, LocalPipelineOptions, string, RegExp][] = [
    ['no module', missing, {}, 'RDMA_ERR_STAGE_FAILED', /nowhere.* cannot be imported/],
    ['a module that throws', broken, {}, 'RDMA_ERR_STAGE_FAILED', /never works in a worker/],
    ['no export', hidden(), {}, 'RDMA_ERR_STAGE_FAILED', /exports no workflow named hidden/],
    ['no device', diamond, { device: 'none9' }, 'RDMA_ERR_NO_DEVICE', /none9/],
    ['no stage', empty, {}, 'RDMA_ERR_INVALID_ARGUMENT', /no stages/],
    [
      'no time',
      diamond,
      { startTimeoutMs: 1 },
      'RDMA_ERR_TIMEOUT',
      /not ready: scale\/0 \(it has not loaded\).*raise startTimeoutMs/,
    ],
    ['no sense', diamond, { maxInFlight: 0 }, 'RDMA_ERR_INVALID_ARGUMENT', /maxInFlight/],
  ];
  for (const [name, graph, options, code, words] of cases) {
    const error = await within(name, failure(LocalPipeline.start(graph, { device: DEVICE, ...options })));
    t.match({ code: error.code, message: error.message }, { code, message: words }, name);
    t.same(children(), [], `${name}: no process`);
  }
});

void t.test('instances may take longer to start than they may be away later', async (t) => {
  const { pipeline } = await start(t, diamond, { reconnectMs: 20 });
  const { request, result } = diamondRequest(1);
  t.same((await within('a result', pipeline.run(request))).outputs[0]?.meta, result);
});

void t.test('a handler that always ends its process costs its request only', async (t) => {
  const { pipeline, pids } = await start(t, obedient, { maxRestarts: 2, maxInFlight: 2 });
  const others = ['none', 'none'].map((act) => pipeline.run({ meta: { act } }));
  const error = await within('the failure', failure(pipeline.run({ meta: { act: 'exit' } })));
  t.match({ ...error, message: error.message }, { code: 'RDMA_ERR_STAGE_FAILED', message: /act .* exit code 3/ });
  t.equal(pipeline.restarts.length, 3);
  await within('the others', Promise.all([...others, pipeline.run({})]));
  pids();
});

void t.test('one that ends it once costs a restart, and so does an exception that nobody catches', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pipeline-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const { pipeline } = await start(t, obedient, { maxRestarts: 1 });
  const meta = { act: 'exit-once', file: join(folder, 'been-here') };
  t.same((await within('a result', pipeline.run({ meta }))).outputs[0]?.meta, meta);
  t.match(pipeline.restarts, [{ stage: 'act', instance: 0, reason: 'exit code 4' }]);
  const error = await within('the end', failure(pipeline.run({ meta: { act: 'throw-later' } })));
  t.match({ code: error.code, message: error.message }, { code: 'RDMA_ERR_STAGE_FAILED', message: /nobody catches/ });
});

void t.test('closing ends requests and processes, in the middle of work and of a restart, and twice', async (t) => {
  for (const act of ['wait', 'spin']) {
    const { pipeline, pids } = await start(t, obedient, { maxInFlight: 1 });
    const requests = [act, 'none'].map((what) => failure(pipeline.run({ meta: { act: what } })));
    t.same(pipeline.load, { inFlight: 1, queued: 1 });
    if (act === 'wait') process.kill(pipeline.processes[0]!.pid, 'SIGKILL');
    const closing = pipeline.close();
    t.equal(pipeline.close(), closing);
    for (const error of await within('the answers', Promise.all(requests), 1000)) {
      t.match(error, { code: 'RDMA_ERR_CLOSED' });
    }
    await within('the close', closing, 5000);
    await gone(pids());
    t.match(await failure(pipeline.run({})), { code: 'RDMA_ERR_CLOSED' });
    t.same(pipeline.processes, []);
  }
});

// A parent of its own: prints the ids of its processes, then carries out the commands on stdin.
const PARENT = `
  const { LocalPipeline } = require(process.argv[1]);
  const { diamond, obedient, diamondRequest } = require(process.argv[2]);
  const [, , , device, what] = process.argv;
  let onTask;
  const begun = new Promise((resolve) => { onTask = resolve; });
  const onEvent = ({ type, stage }) => { if (type === 'stage' && stage === 'act') onTask(); };
  LocalPipeline.start(what === 'busy' ? obedient : diamond, { device, onEvent }).then(async (pipeline) => {
    if (what === 'print') {
      const { request } = diamondRequest(1);
      await pipeline.run({ ...request, meta: { n: 1, print: true } });
      await pipeline.close();
      return;
    }
    if (what === 'busy') {
      pipeline.run({ meta: { act: 'spin' } }).catch(() => {});
      await begun;
    }
    process.stdout.write(JSON.stringify(pipeline.processes.map((place) => place.pid)) + '\\n');
    process.stdin.on('data', () => process.exit(0));
  });
`;

function parent(what: string) {
  const cluster = require.resolve('../../src/ts/cluster/index.js');
  const workflows = require.resolve('../pipeline/workflows.js');
  return spawn(process.execPath, ['-e', PARENT, cluster, workflows, DEVICE, what], { stdio: ['pipe', 'pipe', 'pipe'] });
}

void t.test('no process outlives the parent, whatever ends it and whatever they are doing', async (t) => {
  for (const [what, end] of [
    ['idle', 'SIGKILL'],
    ['busy', 'SIGKILL'],
    ['idle', 'exit'],
    ['idle', 'SIGTERM'],
  ] as const) {
    const child = parent(what);
    let printed = '';
    child.stdout.on('data', (chunk) => {
      printed += chunk;
    });
    await until('the processes', () => printed.endsWith('\n'), 30_000);
    const pids = JSON.parse(printed) as number[];
    t.ok(pids.length >= 2, `${pids.length} processes`);
    if (end === 'exit') child.stdin.write('now\n');
    else child.kill(end);
    await gone(pids, 2000);
    t.pass(`${what}, ${end}`);
  }
});

void t.test('what a handler prints goes to stderr', async (t) => {
  const child = parent('print');
  const [out, err] = await within('the end', Promise.all([text(child.stdout), text(child.stderr)]));
  t.equal(out, '');
  t.match(err, /PRINTED BY A HANDLER/);
});

void t.test('scale() refuses what no stage can be, and changes nothing where nothing changes', async (t) => {
  const { pipeline } = await start(t, obedient);
  const pids = pipeline.processes.map(({ pid }) => pid);
  for (const [stage, count] of [
    ['nothing', 1],
    ['first', 0],
    ['first', 65],
    ['first', 1.5],
    ['first', '2'],
  ] as [string, number][]) {
    const error = await failure(Promise.resolve().then(() => pipeline.scale(stage, count)));
    t.equal(error.code, 'RDMA_ERR_INVALID_ARGUMENT', `${stage} of ${count}`);
  }
  await within('no change', pipeline.scale('first', 1));
  t.same((await pipeline.status()).plan.number, 1);
  t.same(
    pipeline.processes.map(({ pid }) => pid),
    pids,
  );
});

void t.test('changes come one after the other, and closing ends them', async (t) => {
  const { pipeline, pids } = await start(t, obedient);
  await within('three changes', Promise.all([3, 1, 2].map((count) => pipeline.scale('first', count))), 60_000);
  t.match((await pipeline.status()).plan, { number: 4, instances: [[0, 1], [0]] });
  pids();
  const change = failure(pipeline.scale('act', 3));
  await within('the close', pipeline.close(), 5000);
  t.match(await within('the change', change), { code: 'RDMA_ERR_CLOSED' });
  t.match(await failure(pipeline.scale('act', 1)), { code: 'RDMA_ERR_CLOSED' });
});

void t.test('status() tells of every place', async (t) => {
  const { pipeline } = await start(t, diamond);
  const { request } = diamondRequest(1);
  await within('a result', pipeline.run(request));
  await idle(pipeline);
  const { plan, gateway, stages } = await pipeline.status();
  t.same(plan, { number: 1, instances: [[0, 1], [0, 1], [0]], gateways: [0] });
  t.same(Object.keys(stages).sort(), ['scale/0', 'scale/1', 'square/0', 'square/1', 'total/0']);
  t.equal(stages['square/1']?.tasks, 1);
  t.match(gateway, { name: 'gateway/0', inFlight: 0, queued: 0, plans: [1] });
});
