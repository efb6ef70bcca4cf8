// Proves that the shipped profiles pass the check, that a missing figure is an error that names it, and that what is
// assumed instead of others is listed.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { assumptionsOf, bareSeconds, costsOf, gpuCountsOf } from '../../../src/ts/planner/profiles/costs.js';
import { checkProfile, type Profile } from '../../../src/ts/planner/profiles/profile.js';
import { packageRoot } from '../../../src/ts/addon/native.js';

const folder = join(packageRoot(), 'profiles');
const names = readdirSync(folder).filter((name) => name !== 'schema.json');
const read = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8'));
const H100 = { kind: 'H100', memoryGB: 80 };
const wan = () => checkProfile(read('wan21-i2v-14b-480p-40.json'));
const INVALID = 'RDMA_ERR_INVALID_ARGUMENT';

void t.test('every shipped profile is one, under its own name, and each figure has a source', async (t) => {
  t.ok(names.length >= 8);
  for (const name of names) t.equal(`${checkProfile(read(name)).id}.json`, name);
});

void t.test('every profile of Wan has what plan needs; one is what the Python example measured', async (t) => {
  for (const name of names.filter((each) => each.startsWith('wan'))) {
    const profile = checkProfile(read(name));
    const [[kind, { memoryGB }]] = Object.entries(profile.gpus) as [[string, { memoryGB: number }]];
    t.ok(costsOf(profile, { kind, memoryGB }).wholeLoadSeconds > 0, name);
  }
  const { stages } = checkProfile(read('wan21-i2v-14b-480p-40-h200.json'));
  const example = JSON.parse(readFileSync(join(packageRoot(), 'src/python/examples/wan/profile.json'), 'utf8'));
  t.same(stages.map(({ name }) => name).sort(), Object.keys(example.stages).sort());
  for (const { name, seconds, weightsGB, loadSeconds, memoryGB } of stages) {
    const { batches, loadSeconds: loadS, loadedBytes } = example.stages[name];
    t.same(
      seconds.map(({ batch, value }) => [batch, value]),
      batches.map((each: { batch: number; seconds: number }) => [each.batch, each.seconds]),
      name,
    );
    t.ok(Math.abs(loadSeconds!.value - loadS) < 1e-3);
    t.ok(Math.abs(weightsGB!.value - loadedBytes / 1e9) < 1e-3);
    t.ok(Math.abs(memoryGB!.value - batches.at(-1).memoryBytes / 1e9) < 1e-3);
  }
});

void t.test('a load time may have the start of its process in it', async (t) => {
  const profile = read('wan21-i2v-14b-480p-40.json');
  t.equal(costsOf(checkProfile(profile), H100).wholeLoadsFromStart, false);
  for (const stage of profile.stages) stage.loadSeconds.fromStart = true;
  const { stages, wholeLoadsFromStart } = costsOf(checkProfile(profile), H100);
  t.ok(wholeLoadsFromStart && stages.every(({ loadsFromStart }) => loadsFromStart));
  profile.stages[0].loadSeconds.fromStart = 'yes';
  t.throws(() => checkProfile(profile), { code: INVALID, message: /fromStart of loadSeconds of encode/ });
});

void t.test('the schema allows the fields that the check knows', async (t) => {
  const schema = read('schema.json');
  t.same(Object.keys(schema.properties).sort(), ['gpus', 'id', 'schema', 'sources', 'stages', 'what', 'whole']);
  const stage = Object.keys(schema.properties.stages.items.properties);
  const { seconds, memoryGB } = schema.properties.stages.items.properties;
  for (const of of [schema, schema.properties.stages.items, schema.properties.whole]) {
    t.equal(of.additionalProperties, false, 'as the check, it allows no others');
  }
  for (const of of [seconds.items, memoryGB, schema.properties.whole.properties.memoryGB]) {
    t.equal(of.unevaluatedProperties, false);
  }
  for (const name of names) {
    const { stages, ...rest } = read(name);
    for (const key of Object.keys(rest)) t.ok(key in schema.properties, key);
    for (const each of stages) for (const key of Object.keys(each)) t.ok(stage.includes(key), key);
  }
});

void t.test('Wan2.1 at 40 steps: the DiT is 97.5 % of the time', async (t) => {
  const costs = costsOf(wan(), H100);
  t.ok(Math.abs(bareSeconds(costs, 1, 1) - 213.09) < 1e-9);
  t.ok(Math.abs(207.7 / bareSeconds(costs, 1, 1) - 0.975) < 0.001);
  t.match(costs, { wholeMemoryGB: 48, wholeLoadSeconds: 58, wholeGpus: 1 });
  t.same(gpuCountsOf(wan(), 'dit', 'H100'), [1, 8]);
  t.equal(costsOf(wan(), H100, { gpus: { dit: 8 } }).stages[1]!.seconds, 30);
});

void t.test('a missing figure is named', async (t) => {
  const without = (key: string) => {
    const profile = read('wan21-i2v-14b-480p-40.json');
    delete profile.stages[1][key];
    return checkProfile(profile);
  };
  for (const key of ['memoryGB', 'loadSeconds']) {
    t.throws(() => costsOf(without(key), H100), {
      code: INVALID,
      message: `profile wan21-i2v-14b-480p-40 lacks ${key} of stage dit`,
    });
  }
  t.throws(() => without('seconds'), { code: INVALID, message: /lacks seconds of stage dit/ });
  t.throws(() => costsOf(wan(), { kind: 'A100', memoryGB: 80 }), {
    code: INVALID,
    message: 'profile wan21-i2v-14b-480p-40 lacks seconds of stage encode on GPU A100',
  });
  t.throws(() => costsOf(wan(), H100, { gpus: { dit: 3 } }), { code: INVALID, message: /dit on 3 GPUs together/ });
  t.throws(() => costsOf(checkProfile(read('flux1-dev-1024.json')), H100), {
    code: INVALID,
    message: /lacks memoryGB/,
  });
  t.ok(assumptionsOf(without('switchSeconds')).some((words) => words.startsWith('dit: no switchSeconds')));
});

void t.test('what is assumed instead of a missing figure is the one that is taken', async (t) => {
  const { switchSeconds: _switch, weightsGB: _weights, outputBytes: _bytes, ...dit } = wan().stages[1]!;
  const { encode, decode } = Object.fromEntries(wan().stages.map((stage) => [stage.name, stage]));
  const profile = { ...wan(), stages: [encode!, dit, decode!], whole: {} };
  t.same(
    assumptionsOf(profile).filter((words) => /^(dit|whole)/.test(words)),
    [
      'dit: no weightsGB, so all of memoryGB counts as weights',
      'dit: no switchSeconds, so another adapter takes as long as a whole load (loadSeconds)',
      'dit: no outputBytes, so its output takes no time on the way',
      'dit: no figures of batches, so each task runs alone',
      'whole: no memoryGB, so that of the stages is added up',
      'whole: no loadSeconds, so that of the stages is added up',
    ],
  );
  const { stages, wholeMemoryGB, wholeLoadSeconds } = costsOf(profile, H100);
  const { memoryGB, loadSeconds } = stages[1]!;
  t.match(stages[1], { weightsGB: memoryGB, switchSeconds: loadSeconds, outputBytes: 0 });
  t.equal(wholeMemoryGB, stages[0]!.memoryGB + memoryGB + stages[2]!.memoryGB);
  t.equal(wholeLoadSeconds, stages[0]!.loadSeconds + loadSeconds + stages[2]!.loadSeconds);
});

void t.test('a stage that needs more memory than the GPU has is refused', async (t) => {
  t.throws(() => costsOf(wan(), { kind: 'H100', memoryGB: 24 }), {
    code: INVALID,
    message: 'stage dit of profile wan21-i2v-14b-480p-40 needs 32 GB of GPU memory; a H100 has 24',
  });
});

void t.test('what is no profile is refused with the field', async (t) => {
  const changed = (change: (profile: Profile & Record<string, never>) => void) => {
    const profile = read('wan21-i2v-14b-480p-40.json');
    change(profile);
    return () => checkProfile(profile);
  };
  // biome-ignore lint/suspicious/noExplicitAny: what a file may hold
  const cases: [(profile: any) => void, RegExp][] = [
    [(p) => delete p.schema, /schema of the profile/],
    [(p) => (p.id = 'A B'), /id of the profile/],
    [(p) => (p.stages = []), /stages of profile/],
    [(p) => (p.stages[0].seconds[0].value = -1), /value of seconds of encode/],
    [(p) => (p.stages[0].seconds[0].value = 0), /seconds of encode must be above 0/],
    [(p) => (p.stages[0].seconds[0].gpu = 'X'), /gpu of seconds of encode/],
    [(p) => (p.stages[0].seconds[0].source = 'nobody'), /source of seconds of encode/],
    [(p) => (p.stages[0].memoryGB.kind = 'guessed'), /kind of memoryGB of encode/],
    [(p) => (p.stages[1].name = 'encode'), /two stages of one name/],
    [(p) => (p.gpus.H100.memoryGB = 0), /memoryGB of gpu H100/],
    [(p) => (p.gpus = {}), /gpus of profile .* must be one kind or more/],
    [(p) => p.stages[0].seconds.push(p.stages[0].seconds[0]), /seconds of encode twice for GPU H100, gpus 1, batch 1/],
    [(p) => (p.sources['sglang-h100'] = 3), /source sglang-h100 of profile/],
    [(p) => delete p.sources['sglang-h100'].where, /where of source sglang-h100/],
    [(p) => (p.loadMs = 1), /the profile has a field loadMs, which is not one of its fields/],
    [(p) => (p.stages[1].loadMs = 1), /stage dit of profile .* has a field loadMs/],
    [(p) => (p.stages[1].loadSeconds.unit = 'ms'), /loadSeconds of dit of profile .* has a field unit/],
    [(p) => (p.stages[1].loadSeconds.batch = 1), /loadSeconds of dit of profile .* has a field batch/],
    [(p) => (p.stages[1].seconds[0].unit = 'ms'), /seconds of dit of profile .* has a field unit/],
    [(p) => (p.whole.weightsGB = p.whole.memoryGB), /whole of profile .* has a field weightsGB/],
  ];
  for (const [change, says] of cases) t.throws(changed(change), { code: INVALID, message: says });
  t.throws(() => checkProfile(null), { code: INVALID });
});
