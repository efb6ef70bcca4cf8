// Proves that `onepiece profile` measures what stages cost, that `plan` and `simulate` take what it writes, that
// whatever is wrong is one clear line, and that no process is left.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readGpuApps } from '../../src/ts/bench/profile/process-memory.js';
import { longestWay, outputsByStage, secondsByStage } from '../../src/ts/bench/profile/measure.js';
import { missingOf, profileOf } from '../../src/ts/bench/profile/document.js';
import { checkSpec } from '../../src/ts/pipeline/index.js';
import { checkProfile } from '../../src/ts/planner/profiles/profile.js';
import { childrenOf, groupOf, onepiece, runs, scratch, start, until } from './command.js';
import { BATCH_MS, FIRST_MS, LOAD_MS, MORE_MS, OUTPUT_BYTES } from './profile-workflows.js';

const folder = scratch();
const MODULE = join(__dirname, 'profile-workflows.js');
const WRITTEN = 'out.json';
const EXAMPLE = { meta: { times: 1 } };
writeFileSync(join(folder, 'one.json'), JSON.stringify(EXAMPLE));
writeFileSync(join(folder, 'fails.json'), JSON.stringify({ meta: { fails: true } }));
writeFileSync(join(folder, 'odd.json'), JSON.stringify({ meta: {}, more: 1 }));
writeFileSync(join(folder, 'broken.json'), '{');
writeFileSync(join(folder, 'none.js'), 'module.exports = { nothing: 1 };');

void t.test('a workflow that sleeps: figures are what is true, and plan and simulate take them', async (t) => {
  const args = ['profile', MODULE, '--input', 'one.json', '--requests', '3', '--batch', '1,4'];
  const more = ['--shared', 'last', '--output', WRITTEN];
  const { code, stdout, stderr } = await onepiece([...args, ...more], folder);
  t.equal(code, 0, stderr);
  t.match(stdout, /^stage +batch +gpus +seconds/);
  const profile = checkProfile(JSON.parse(readFileSync(join(folder, WRITTEN), 'utf8')));
  t.equal(profile.id, 'sleepers');
  const [batched, first, last] = profile.stages;
  const isAbout = (value: number, truth: number, part: number, what: string) =>
    t.ok(value >= truth && value <= truth * (1 + part), `${what}: ${value}, truly ${truth}`);
  t.strictSame(
    batched!.seconds.map(({ batch, gpus }) => [batch, gpus]),
    [
      [1, 1],
      [4, 1],
    ],
  );
  isAbout(batched!.seconds[0]!.value, (BATCH_MS - 1) / 1000, 0.05, 'alone');
  isAbout(batched!.seconds[1]!.value, (BATCH_MS + 3 * MORE_MS - 1) / 1000, 0.05, 'a batch');
  isAbout(first!.seconds[0]!.value, (FIRST_MS - 1) / 1000, 0.05, 'the stage behind it');
  t.equal(first!.seconds.length, 1, 'no figure of batches that it does not take');
  t.ok(last!.seconds[0]!.value < 0.05);
  t.match(first!.seconds[0], { kind: 'measured', spread: { samples: 3 }, machine: /cores/ });
  const { low, high } = first!.seconds[0]!.spread!;
  t.ok(low <= first!.seconds[0]!.value && high >= first!.seconds[0]!.value);
  const loads = profile.stages.map(({ loadSeconds }) => loadSeconds!.value);
  t.ok(loads[1]! >= LOAD_MS / 1000, `starts take ${loads.join(', ')} s`);
  t.ok(loads[1]! - loads[2]! > 0.5 * (LOAD_MS / 1000), 'the stage that loads takes longer to start');
  t.ok(first!.outputBytes!.value >= OUTPUT_BYTES && first!.outputBytes!.value < OUTPUT_BYTES + 1000);
  t.strictSame(
    profile.stages.map(({ shared }) => shared),
    [false, false, true],
  );
  for (const { memoryGB } of profile.stages) t.ok(memoryGB!.value > 0.02 && memoryGB!.value < 2, `${memoryGB!.value}`);

  const given = ['--trace', 'poisson', '--rate', '0.02', '--profile', `./${WRITTEN}`, '--slo', 'p95=5x'];
  const simulated = await onepiece(['simulate', ...given, '--json'], folder);
  t.equal(simulated.code, 0, simulated.stderr);
  t.ok(JSON.parse(simulated.stdout).comparison[0].gpusMean > 0);
  const planned = await onepiece(['plan', ...given, '--seeds', '1', '--fleets', 'mono-shared'], folder);
  t.equal(planned.code, 0, planned.stderr);
  t.match(planned.stdout, /requests for 1 models/);
});

void t.test('units divide what is measured, and --json prints the profile', async (t) => {
  const args = ['profile', MODULE, '--meta', '{"times":2}', '--units', '2', '--requests', '2', '--id', 'of-units'];
  const { code, stdout, stderr } = await onepiece([...args, '--json'], folder);
  t.equal(code, 0, stderr);
  const { id, stages } = checkProfile(JSON.parse(stdout));
  t.equal(id, 'of-units');
  t.ok(Math.abs(stages[1]!.seconds[0]!.value - FIRST_MS / 1000) < 0.02);
});

void t.test('an interrupted measurement leaves no process and no file', async (t) => {
  const args = ['profile', MODULE, '--requests', '100', '--output', 'never.json'];
  const { child, ended } = start(args, folder);
  const workers = await until(
    'three workers',
    () => {
      const found = childrenOf(child.pid!);
      return found.length >= 3 && found;
    },
    30_000,
  );
  child.kill('SIGINT');
  const { code, stdout } = await ended;
  t.equal(code, 130);
  t.equal(stdout, '');
  t.notOk(existsSync(join(folder, 'never.json')));
  await until('their end', () => !workers.some(runs) && groupOf(child.pid!).length === 0, 5000);
});

const bad: { args: string[]; code: number; says: RegExp }[] = [
  { args: ['nope.js'], code: 2, says: /nope\.js cannot be loaded/ },
  { args: ['none.js'], code: 2, says: /none\.js exports no workflow/ },
  { args: ['demo', '--export', 'other'], code: 2, says: /demo is one workflow, so there is no other to choose/ },
  { args: [MODULE, '--input', 'nope.json'], code: 2, says: /--input nope\.json cannot be read: ENOENT/ },
  { args: [MODULE, '--input', 'broken.json'], code: 2, says: /--input broken\.json is no JSON/ },
  { args: [MODULE, '--input', 'odd.json'], code: 2, says: /--input odd\.json: .*the body has "more"/ },
  { args: [MODULE, '--shared', 'nope'], code: 2, says: /--shared nope: the workflow has no such stage/ },
  { args: [MODULE, '--gpu', 'H100'], code: 2, says: /--gpu: no stage of the workflow has a GPU/ },
  { args: [MODULE, '--id', 'UPPER'], code: 2, says: /--id UPPER: give --id of small letters/ },
  { args: [MODULE, '--part', 'x'], code: 2, says: /--part is for an --input that is not JSON/ },
  { args: [MODULE, '--batch', '0'], code: 2, says: /Give a whole number from 1 to 64/ },
  { args: [MODULE, '--output', '/nope/x.json'], code: 1, says: /cannot write \/nope\/x\.json/ },
  {
    args: [MODULE, '--input', 'fails.json'],
    code: 1,
    says: /: request 1 failed: stage last failed: there is no such word/,
  },
  { args: [MODULE, '--device', 'nope0'], code: 3, says: /nope0/ },
];
for (const { args, code, says } of bad) {
  void t.test(args.slice(-2).join(' '), async (t) => {
    const ended = await onepiece(['profile', ...args], folder);
    t.equal(ended.code, code, ended.stderr);
    t.match(ended.stderr, says);
    t.equal(ended.stdout, '');
    const lines = ended.stderr.trim().split('\n');
    t.equal(lines.filter((line) => !line.startsWith('(--help')).length, 1, 'one line');
  });
}

void t.test('what is read from traces and tools', (t) => {
  const tasks = [
    { stage: 'a', instance: 0, queueUs: 5, computeUs: 2e6 },
    { stage: 'a', instance: 1, queueUs: 5, computeUs: 3e6 },
    { stage: 'b', instance: 0, queueUs: 5, computeUs: 1e6 },
    { stage: 'c', instance: 0, queueUs: 5, computeUs: 4e6 },
  ];
  const hop = { fromInstance: 0, toInstance: 0, us: 1 };
  const hops = [
    { ...hop, from: 'request', to: 'a', bytes: 9 },
    { ...hop, from: 'a', to: 'c', bytes: 10 },
    { ...hop, from: 'a', fromInstance: 1, to: 'c', bytes: 11 },
    { ...hop, from: 'c', to: 'result', bytes: 99 },
  ];
  const took = secondsByStage({ tasks, hops });
  t.strictSame(
    [...took],
    [
      ['a', 3],
      ['b', 1],
      ['c', 4],
    ],
  );
  t.strictSame([...outputsByStage({ tasks, hops })], [['a', 21]]);
  const spec = checkSpec({
    name: 'ways',
    stages: [{ name: 'a', spread: 'shard', instances: 2 }, { name: 'b' }, { name: 'c', after: ['a', 'b'] }],
  });
  t.equal(longestWay(spec, took), 7);
  t.strictSame([...readGpuApps('12, 1024\n13, [N/A]\n12, 2048\n\n')], [[12, 2048 * 2 ** 20]]);
  t.end();
});

void t.test('of a GPU: seen, said by the workflow, or missing and named', (t) => {
  const resources = { gpus: 2 };
  const spec = checkSpec({
    name: 'gpus',
    stages: [
      { name: 'seen', resources },
      { name: 'said', resources: { gpus: 1, gpuMemoryBytes: 8e9 }, after: ['seen'] },
      { name: 'unknown', resources, spread: 'shard', instances: 4, after: ['said'] },
      { name: 'host', after: ['unknown'] },
    ],
  });
  const stages = spec.stages.map(({ name }) => ({
    name,
    seconds: new Map([[1, [1, 2, 3]]]),
    loadSeconds: [4],
    peakBytes: 1e9,
    gpuPeakBytes: name === 'seen' ? 30e9 : undefined,
    outputBytes: undefined,
  }));
  const gpu = { kind: 'H100', memoryGB: 80 };
  const around = { id: 'gpus', what: 'a test', machine: 'here', where: 'a test', gpu, hostMemoryGB: 9, units: 1 };
  const measured = { stages, latencySeconds: [1], betweenSeconds: [0], notes: [] };
  const profile = profileOf(spec, measured, { ...around, shared: new Set() });
  t.match(profile.stages, [
    { seconds: [{ value: 2, gpu: 'H100', gpus: 2 }], memoryGB: { value: 30, kind: 'measured' } },
    { seconds: [{ gpus: 1 }], memoryGB: { value: 8, kind: 'derived', note: /it was not measured/ } },
    { seconds: [{ gpus: 8 }] },
    { seconds: [{ gpus: 1, note: /it has no GPU/ }], memoryGB: { value: 0 } },
  ]);
  t.equal(profile.stages[2]!.memoryGB, undefined);
  t.match(missingOf(profile), [/^unknown: no memoryGB/]);
  t.end();
});
