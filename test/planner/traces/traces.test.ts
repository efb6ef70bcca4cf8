// Proves that traces are read as they are, that a bad row is named, and that made ones are what their options say.
import t from 'tap';
import { readCsvTrace, writeCsvTrace } from '../../../src/ts/planner/traces/csv.js';
import { gentd26LikeTrace } from '../../../src/ts/planner/traces/gentd26-like.js';
import { burstTrace, dayTrace, onOffTrace, poissonTrace } from '../../../src/ts/planner/traces/generators.js';
import { readTrace } from '../../../src/ts/planner/traces/public-formats.js';
import { gapOf, stretched, TraceBuilder, untilDone } from '../../../src/ts/planner/traces/trace.js';

void t.test('the own format is read, and written so that it reads the same', async (t) => {
  const text = 'arrival_s,model,units,tenant,deadline_s,adapter\n0,a,1,u1,,0\n1.5,b,2.5,u2,30,1\n\n2,a,,,,\n';
  const trace = readCsvTrace('own', text);
  t.same([...trace.arrivalS], [0, 1.5, 2]);
  t.same(trace.models, ['a', 'b']);
  t.same([...trace.units], [1, 2.5, 1]);
  t.same([...trace.deadlineS], [Infinity, 30, Infinity]);
  t.same([...trace.hasAdapter], [0, 1, 0]);
  t.equal(trace.tenants, 3);
  const again = readCsvTrace('own', writeCsvTrace(trace));
  for (const key of ['arrivalS', 'model', 'units', 'deadlineS', 'hasAdapter', 'models'] as const)
    t.same(again[key], trace[key]);
});

void t.test('what is wrong with a row is said with its line', async (t) => {
  const bad: [string, RegExp][] = [
    ['arrival_s,model\n-1,a\n', /line 2: the arrival must be 0 to .* not -1/],
    ['arrival_s,model\n5,a\n4,a\n', /line 3: it comes at 4 s, before the request above it at 5 s/],
    ['arrival_s,model\nx,a\n', /line 2: arrival_s is no number: x/],
    ['arrival_s,model\n,a\n', /line 2: the arrival must be/],
    ['arrival_s,model\n1\n', /line 2: it has 1 values, the header has 2/],
    ['arrival_s,model,units\n1,a,0\n', /line 2: units must be above 0/],
    ['arrival_s,model,deadline_s\n1,a,-3\n', /line 2: the deadline must be above 0/],
    ['arrival_s,model\n1,\n', /line 2: it names no model/],
    ['arrival_s,model\n', /it has no request/],
    ['time,model\n1,a\n', /no known format has the columns time,model/],
    ['TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,1\n', /line 2: no time: yesterday/],
    ['timestamp,input_tokens,output_tokens\n1,5,\n', /line 2: there are no output_tokens/],
    ['timestamp,input_tokens,output_tokens\n1,-5,2\n', /line 2: input_tokens must be 0 or more, not -5/],
    [
      'TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:04,1,1\n2023-11-16 18:17:03,1,1\n',
      /line 3: it comes at -1 s, before the request above it at 0 s/,
    ],
    ['gmt_create,model\n2024-11-15 16:57:50,M1\n', /line 1: there is no column checkpoint_model_version_id/],
    ['arrival_s,arrival_s\n1,2\n', /line 1: two columns are called arrival_s/],
    ['arrival_s,model\n0x10,a\n', /line 2: arrival_s is no number: 0x10/],
    ['arrival_s,adapter\n1,5\n', /line 2: adapter must be 0 or 1, not 5/],
    ['arrival_s,units\n1,1e-60\n', /line 2: units must be at least 1e-9, not 1e-60/],
    ['arrival_s,units\n1,1e10\n', /line 2: units must be at most 1000000000, not/],
    ['\n\n', /bad\.csv: it is empty/],
  ];
  for (const [text, says] of bad) {
    t.throws(() => readTrace('bad.csv', text), { code: 'RDMA_ERR_INVALID_ARGUMENT', message: says }, text);
  }
});

void t.test('a column that is not read, and one that is missing, are in the notes', async (t) => {
  t.same(readTrace('own', 'arrival_s,modle,size\n0,a,3\n').notes, [
    'columns that are not read: modle, size',
    'no column model: all requests are of one model',
  ]);
  t.same(readTrace('own', 'arrival_s,class,units\n0,a,3\n').notes, []);
});

void t.test('a file ends when its last request could be done, and no earlier than it says', async (t) => {
  const trace = readTrace('own', 'arrival_s,model\n0,a\n10,b\n');
  t.equal(trace.lengthS, 10);
  t.equal(untilDone(trace, (request) => [30, 5][request]!).lengthS, 30);
  t.equal(untilDone(trace, () => 7).lengthS, 17);
  t.equal(untilDone({ ...trace, lengthS: 100 }, () => 7).lengthS, 100);
});

void t.test('published formats are recognized by their columns', async (t) => {
  const azure = readTrace(
    'azure',
    'TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4000,10\n2023-11-16 18:17:05.4799600,500,100\n',
  );
  t.ok(Math.abs(azure.arrivalS[1]! - 1.5) < 1e-6);
  t.same(
    [...azure.units].map((u) => Math.round(u * 1000)),
    [4000, 500],
  );
  t.same(
    [...azure.outputUnits].map((u) => Math.round(u * 1000)),
    [10, 100],
  );
  const servegen = readTrace(
    'servegen',
    'request_id,timestamp,input_tokens,output_tokens\n0,0.25,2000,0\n1,0.5,100,50\n',
  );
  t.same([...servegen.arrivalS], [0.25, 0.5]);
  const small = readTrace(
    'gentd26',
    'arrival_s,model,exec_s,kind,status,images,steps,loras,user,prompt_chars\n0,5,32,0,0,1,30,0,0,6\n9,-1,0,0,2,,,,1,\n10,5,40,0,0,1,30,2,1,6\n',
  );
  t.same([...small.arrivalS], [0, 10]);
  t.same([...small.hasAdapter], [0, 1]);
  t.match(small.notes[0], /1 rows name no model/);
  const raw = readTrace(
    'raw',
    'gmt_create,checkpoint_model_version_id,num_lora,groupId\n2024-11-15 16:57:50,M1,0,g\n2024-11-15 16:58:00,M2,1,h\n',
  );
  t.same([...raw.arrivalS], [0, 10]);
  t.same(raw.models, ['M1', 'M2']);
});

void t.test('a gap that is no chance is found', async (t) => {
  const builder = new TraceBuilder('gap');
  for (let i = 0; i < 1000; i++) builder.add({ arrivalS: i < 500 ? i : i + 100_000, model: 'a' }, `row ${i}`);
  t.match(gapOf(builder.done()), { atS: 499, lengthS: 100_001 });
  t.equal(gapOf(poissonTrace({ seed: 1, rate: 0.01, seconds: 200_000 })), undefined);
});

const rateOf = ({ arrivalS, lengthS }: { arrivalS: Float64Array; lengthS: number }) => arrivalS.length / lengthS;
const spread = ({ arrivalS, lengthS }: { arrivalS: Float64Array; lengthS: number }, windowS: number) => {
  const counts = new Float64Array(Math.ceil(lengthS / windowS));
  for (const s of arrivalS) counts[Math.floor(s / windowS)]!++;
  const mean = arrivalS.length / counts.length;
  return counts.reduce((sum, n) => sum + (n - mean) ** 2, 0) / counts.length / mean;
};

void t.test('made traces have their rate, and the spread of their kind', async (t) => {
  const options = { seed: 2, rate: 0.5, seconds: 400_000 };
  const made = {
    poisson: poissonTrace(options),
    day: dayTrace(options),
    bursts: burstTrace(options),
    onOff: onOffTrace(options),
  };
  for (const [name, trace] of Object.entries(made)) {
    t.ok(Math.abs(rateOf(trace) - 0.5) < 0.08, `${name}: ${rateOf(trace)} a second`);
  }
  t.ok(Math.abs(spread(made.poisson, 60) - 1) < 0.1, 'Poisson: variance is mean');
  t.ok(spread(made.bursts, 60) > 4);
  t.ok(spread(made.onOff, 60) > 10);
  t.ok(spread(made.day, 60) < 10 && spread(made.day, 3600) > 100, 'a day changes slowly');
  const sum = (seed: number) => poissonTrace({ ...options, seed }).arrivalS.reduce((a, b) => a + b, 0);
  t.equal(sum(2), sum(2), 'the same seed, the same trace');
  t.not(sum(3), sum(2));
  t.throws(() => poissonTrace({ ...options, rate: 0 }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  t.throws(() => dayTrace({ ...options, ratio: 0.5 }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  t.same(stretched(made.poisson, 2).arrivalS[9], 2 * made.poisson.arrivalS[9]!);
});

void t.test(
  'gentd26-like has the published rate, shares of models and adapters, and sends several in a row',
  async (t) => {
    const trace = gentd26LikeTrace({ seed: 1, days: 10 });
    t.ok(Math.abs(trace.arrivalS.length / 10 - 2300) < 230, `${trace.arrivalS.length / 10} a day`);
    const counts = new Map<number, number>();
    for (const model of trace.model) counts.set(model, (counts.get(model) ?? 0) + 1);
    const ordered = [...counts.values()].sort((a, b) => b - a);
    const part = (n: number) => ordered.slice(0, n).reduce((a, b) => a + b, 0) / trace.arrivalS.length;
    t.ok(Math.abs(part(1) - 0.307) < 0.04 && Math.abs(part(5) - 0.7) < 0.05, `${part(1)}, ${part(5)}`);
    const adapters = trace.hasAdapter.reduce((a, b) => a + b, 0) / trace.arrivalS.length;
    t.ok(Math.abs(adapters - 0.17) < 0.02);
    t.ok(spread(trace, 300) > 5, 'users send several in a row');
    t.equal(gentd26LikeTrace({ seed: 1, models: 3 }).models.length, 3);
    t.throws(() => gentd26LikeTrace({ seed: 1, models: 99 }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
    t.throws(() => gentd26LikeTrace({ seed: 1, days: 365, scale: 1000 }), { message: /scale times days must be/ });
  },
);
