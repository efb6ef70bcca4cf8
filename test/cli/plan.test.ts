// Proves what `onepiece plan` and `onepiece simulate` print, that the page needs nothing else, and that whatever is
// wrong with what they are given is one clear line.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { FLEETS } from '../../src/ts/planner/fleet/compared.js';
import { CLUSTER_DELAYS } from '../../src/ts/planner/fleet/fleet.js';
import { packageRoot } from '../../src/ts/addon/native.js';
import { onepiece, scratch } from './command.js';

const folder = scratch();
const WAN = ['--profile', 'wan21-i2v-14b-480p-40'];
const SMALL = ['--trace', 'gentd26-like', '--rate', '0.1', '--models', '4', ...WAN];
writeFileSync(join(folder, 'own.csv'), 'arrival_s,model\n0,a\n100,b\n200,a\n900,c\n1500,a\n');
writeFileSync(join(folder, 'back.csv'), 'arrival_s,model\n10,a\n4,a\n');
writeFileSync(join(folder, 'minus.csv'), 'arrival_s,model\n-4,a\n');
writeFileSync(join(folder, 'none.json'), '{');
writeFileSync(join(folder, 'one.csv'), 'arrival_s,model\n0,a\n');
writeFileSync(join(folder, 'large.csv'), 'arrival_s,units\n0,1\n5,1e9\n');
writeFileSync(join(folder, 'typed.csv'), `arrival_s,modle\n${'0,a\n'.repeat(200)}900000,a\n`);
writeFileSync(join(folder, 'control.csv'), '\u001b[31mtime,model\n0,a\n');
const own = JSON.parse(readFileSync(join(packageRoot(), 'profiles', 'wan21-i2v-14b-480p-40.json'), 'utf8'));
own.id = 'own';
delete own.stages[1].switchSeconds;
writeFileSync(join(folder, 'own.json'), JSON.stringify(own));
writeFileSync(join(folder, 'marked.json'), `\uFEFF${JSON.stringify(own)}`);
writeFileSync(join(folder, 'typed.json'), JSON.stringify({ ...own, loadMs: 1 }));

void t.test('a plan as JSON and as a page', async (t) => {
  const args = [
    'plan',
    ...SMALL,
    '--slo',
    'p95=3x',
    '--seeds',
    '2',
    '--gpu',
    'H100:80:2.5',
    '--html',
    'plan.html',
    '--json',
  ];
  const { code, stdout, stderr } = await onepiece(args, folder);
  t.equal(code, 0, stderr);
  const plan = JSON.parse(stdout);
  t.same(
    plan.comparison.map(({ name }: { name: string }) => name),
    [...FLEETS],
  );
  for (const each of plan.comparison) {
    for (const key of ['gpusMean', 'gpusP99', 'gpusPeak', 'rejected', 'loads']) t.type(each[key], 'number', key);
    t.type(each.sloMet, 'boolean');
  }
  t.ok(plan.chosen.sloMet && plan.chosen.costADay > 0);
  t.equal(plan.intervals.seeds, 1);
  t.equal(plan.sensitivity.length, 9);
  t.same(plan.delays, CLUSTER_DELAYS);
  t.ok(plan.chosen.pools.every((pool: { byHour: unknown[] }) => pool.byHour.length >= 24));
  t.same(plan.placement.unplaced, []);
  t.ok(plan.unknown.length > 0);
  const page = readFileSync(join(folder, 'plan.html'), 'utf8');
  t.match(page, /default-src 'none'/);
  t.notMatch(page, /<script|https?:|url\(|@import/, 'nothing is loaded');
  t.match(page, /<svg/);
  t.match(page, /staged-\w+ on H100 of 80 GB at 2.5 an hour|mono-[\w-]+ on H100 of 80 GB at 2.5 an hour/);
  t.match(page, /at most\s1.0 % refused/);
  t.match(page, /<details><summary>By hour of the day.*<td>23<.td>/s);
  t.match(page, /Placed: \d+ instances of the peak/);
});

void t.test('the plan is the fleet with the fewest GPUs that holds the SLO, of all that are compared', async (t) => {
  const args = ['plan', '--trace', 'gentd26-like', '--rate', '0.3', '--models', '4', ...WAN, '--slo', 'p95=2x'];
  const { stdout } = await onepiece([...args, '--seeds', '1', '--json'], folder);
  const { chosen, comparison } = JSON.parse(stdout);
  const able = comparison.filter((each: { name: string; sloMet: boolean }) => each.name !== 'bound' && each.sloMet);
  t.equal(chosen.gpusMean, Math.min(...able.map((each: { gpusMean: number }) => each.gpusMean)));
});

void t.test('a trace of one request: its GPU counts until it is done', async (t) => {
  const { code, stdout } = await onepiece(['plan', '--trace', 'one.csv', ...WAN], folder);
  t.equal(code, 0);
  t.match(stdout, /^Plan: \S+, 1\.00 GPUs on average, 1 at the peak/m);
  t.notMatch(stdout, /NaN|Infinity/);
});

void t.test('several kinds of GPU: the text and the page say how the others do', async (t) => {
  const gpus = ['--gpu', 'H100:80:3', '--gpu', 'H100:40:1', '--gpu', 'H100:40:1'];
  const args = ['plan', '--trace', 'own.csv', ...WAN, '--fleets', 'mono-fixed,staged-elastic', ...gpus];
  const { code, stdout } = await onepiece([...args, '--html', 'two.html'], folder);
  t.equal(code, 0);
  t.equal(stdout.match(/^On H100 of \d+ GB at \d an hour: /gm)?.length, 1);
  t.match(readFileSync(join(folder, 'two.html'), 'utf8'), /<h2>Other GPUs<.h2><ul><li>On H100 of/);
});

void t.test('simulate says what is remarkable in a trace', async (t) => {
  const args = ['simulate', '--trace', 'typed.csv', '--profile', './marked.json'];
  const { stdout } = await onepiece(args, folder);
  t.match(stdout, /^Note: columns that are not read: modle$/m);
  t.match(stdout, /^Note: nothing comes for 250\.0 h, 0\.0 h after its beginning$/m);
  const { notes } = JSON.parse((await onepiece([...args, '--json'], folder)).stdout);
  t.equal(notes.length, 3);
  t.notMatch((await onepiece([...args, '--fleet', 'bound'], folder)).stdout, /Gateway/, 'the bound has none');
});

void t.test('a trace from a file: the table says that it is one sample; the same twice', async (t) => {
  const args = ['plan', '--trace', 'own.csv', ...WAN, '--fleets', 'mono-fixed,staged-elastic,bound'];
  const [first, second] = await Promise.all([onepiece(args, folder), onepiece(args, folder)]);
  t.equal(first.code, 0, first.stderr);
  t.equal(first.stdout, second.stdout);
  t.match(first.stdout, /5 requests for 3 models/);
  t.match(first.stdout, /Not known: the trace is one sample/);
  t.match(first.stdout, /Assumed: wan21-i2v-14b-480p-40, dit: no figures of batches, so each task runs alone/);
});

void t.test('what is assumed instead of a missing figure is printed', async (t) => {
  const says = /Assumed: own, dit: no switchSeconds, so another adapter takes as long as a whole load/;
  const args = ['--trace', 'own.csv', '--profile', './own.json', '--variants', 'adapter'];
  const plan = await onepiece(['plan', ...args, '--fleets', 'staged-elastic', '--html', 'own.html'], folder);
  t.equal(plan.code, 0, plan.stderr);
  t.match(plan.stdout, says);
  t.match(readFileSync(join(folder, 'own.html'), 'utf8'), /<h2>Assumed<.h2><ul>.*own, dit: no switchSeconds/);
  const simulated = await onepiece(['simulate', ...args], folder);
  t.match(simulated.stdout, says);
  const document = JSON.parse((await onepiece(['simulate', ...args, '--json'], folder)).stdout);
  t.ok(document.assumed.some((words: string) => words.startsWith('own, dit: no switchSeconds')));
});

void t.test('a fleet whose instances do not fit on the GPU is not chosen', async (t) => {
  const args = ['plan', '--trace', 'own.csv', ...WAN, '--gpu', 'H100:40', '--json'];
  const fleets = ['--fleets', 'mono-shared-elastic,staged-elastic'];
  const { code, stdout, stderr } = await onepiece([...args, ...fleets], folder);
  t.equal(code, 0, stderr);
  const { chosen, comparison, placement } = JSON.parse(stdout);
  t.ok(comparison[0].gpusMean < comparison[1].gpusMean, 'it would need fewer GPUs');
  t.equal(chosen.fleet, 'staged-elastic');
  t.same(placement.unplaced, []);
  const only = await onepiece([...args, '--fleets', 'mono-shared-elastic'], folder);
  t.match(JSON.parse(only.stdout).placement, {
    placed: 0,
    unplaced: ['any model needs 48 GB of GPU memory; a H100 has 40'],
  });
});

void t.test('simulate takes faults, and prints a document', async (t) => {
  const args = ['simulate', ...SMALL, '--fleet', 'mono-shared,staged-elastic', '--node-deaths', '0.2', '--json'];
  const { code, stdout, stderr } = await onepiece(args, folder);
  t.equal(code, 0, stderr);
  const { comparison, ratios } = JSON.parse(stdout);
  t.same(
    comparison.map(({ name }: { name: string }) => name),
    ['mono-shared', 'staged-elastic'],
  );
  t.ok(comparison.some(({ nodeDeaths }: { nodeDeaths: number }) => nodeDeaths > 0));
  t.equal(ratios.length, 1);
});

void t.test('the delays of a cluster are printed, can be set, and can be left out', async (t) => {
  const args = ['simulate', '--trace', 'own.csv', ...WAN];
  const usual = await onepiece(args, folder);
  t.match(usual.stdout, /^Delays: a process takes 1.2 s before it loads, .* 0.5 s ago and decides every 1 s, and a/m);
  t.match(usual.stdout, /^Gateway: a queue for each pool of staged-elastic$/m);
  const set = ['--process-seconds', '30', '--report-seconds', '2', '--tick-seconds', '4', '--json'];
  const slow = JSON.parse((await onepiece([...args, ...set], folder)).stdout);
  t.same(slow.delays, { processS: 30, reportS: 2, tickS: 4 });
  const none = await onepiece([...args, '--no-delays'], folder);
  t.match(none.stdout, /^Delays: none/m);
  const at = (document: { comparison: { p95S: number }[] }) => document.comparison[0]!.p95S;
  const quick = JSON.parse((await onepiece([...args, '--no-delays', '--json'], folder)).stdout);
  t.equal(quick.delays, null);
  t.ok(at(slow) > at(quick) + 30, `${at(slow)} s and ${at(quick)} s`);
  const one = ['simulate', '--trace', 'poisson', '--rate', '0.01', ...WAN];
  const behind = await onepiece(one, folder);
  t.match(behind.stdout, /^Gateway: one before all stages of staged-elastic$/m);
  t.match((await onepiece([...one, '--no-gateway'], folder)).stdout, /^Gateway: a queue for each pool/m);
});

void t.test('without affinity instances load more often, and that is printed', async (t) => {
  const many = ['--rate', '0.05', '--models', '3', '--no-delays', '--fleet', 'mono-shared-elastic'];
  const args = ['simulate', '--trace', 'poisson', ...many, ...WAN];
  const documentOf = async (more: string[]) =>
    JSON.parse((await onepiece([...args, ...more, '--json'], folder)).stdout);
  const [usual, without] = [await documentOf([]), await documentOf(['--no-affinity'])];
  t.match([usual.affinity, without.affinity], [true, false]);
  const [few, more] = [usual.comparison[0].loads, without.comparison[0].loads];
  t.ok(more > few, `${more} and ${few} loads`);
  t.notMatch((await onepiece(args, folder)).stdout, /Affinity/);
  t.match((await onepiece([...args, '--no-affinity'], folder)).stdout, /^Affinity: none; an instance that holds/m);
});

void t.test('what may be refused is part of the SLO', async (t) => {
  const args = ['simulate', '--trace', 'poisson', '--rate', '0.05', ...WAN, '--queued', '1', '--no-gateway', '--json'];
  const of = async (slo: string) => JSON.parse((await onepiece([...args, '--slo', slo], folder)).stdout).comparison[0];
  const [strict, lax] = [await of('p95=3x,rejected=0%'), await of('p95=3x,rejected=5%')];
  t.ok(strict.rejected > 0 && strict.rejected < 0.05 && strict.inTime > 0.95, `${strict.rejected} refused`);
  t.notOk(strict.sloMet);
  t.ok(lax.sloMet);
});

void t.test('a plan says that it has no interval, and what it leaves out of faults and shared GPUs', async (t) => {
  const args = ['plan', ...SMALL, '--seeds', '1', '--node-deaths', '0.01'];
  const packed = await onepiece([...args, '--fleets', 'staged-full'], folder);
  t.match(packed.stdout, /^Not known: one seed was simulated: there is no interval over seeds$/m);
  t.match(packed.stdout, /^Not known: stages that share a GPU take turns;/m);
  t.match(packed.stdout, /^Not known: mono-fixed and staged-fixed are sized as if no node died/m);
  const fixed = await onepiece(['plan', ...SMALL, '--seeds', '3', '--fleets', 'mono-shared'], folder);
  t.notMatch(fixed.stdout, /somebody can lend|share a GPU|sized as if|no interval/);
  t.match(fixed.stdout, /^On 2 other seeds: .* in time, at most 0\.00 % refused/m);
});

const bad: { args: string[]; code: number; says: RegExp }[] = [
  {
    args: ['plan', '--trace', 'nope.csv', ...WAN],
    code: 2,
    says: /there is no trace nope\.csv; traces that are made are gentd26-like/,
  },
  { args: ['plan', '--trace', 'back.csv', ...WAN], code: 1, says: /back\.csv, line 3: it comes at 4 s, before/ },
  { args: ['plan', '--trace', 'minus.csv', ...WAN], code: 1, says: /minus\.csv, line 2: the arrival must be 0 to/ },
  { args: ['plan', '--trace', 'poisson', ...WAN], code: 2, says: /--trace poisson needs --rate/ },
  {
    args: ['plan', '--trace', 'own.csv', '--profile', 'nope'],
    code: 2,
    says: /there is no profile nope; there are flux1/,
  },
  { args: ['plan', '--trace', 'own.csv', '--profile', './none.json'], code: 2, says: /none\.json is no JSON/ },
  {
    args: ['plan', '--trace', 'own.csv', '--profile', 'flux1-dev-1024'],
    code: 1,
    says: /flux1-dev-1024 lacks memoryGB of stage encode/,
  },
  {
    args: ['plan', '--trace', 'own.csv', ...WAN, '--profile', 'wan21-i2v-14b-480p-4'],
    code: 2,
    says: /own\.csv has a model a without a profile/,
  },
  {
    args: ['plan', '--trace', 'own.csv', ...WAN, '--slo', 'p95=0.5x'],
    code: 2,
    says: /0\.5 times the bare time is below the bare time: a request alone takes 213\.1 s/,
  },
  {
    args: ['plan', '--trace', 'own.csv', ...WAN, '--slo', 'p95=100s'],
    code: 2,
    says: /SLO of 100 s is below the bare time/,
  },
  { args: ['plan', '--trace', 'own.csv', ...WAN, '--slo', 'fast'], code: 2, says: /--slo fast: give p95=2x/ },
  { args: ['plan', '--trace', 'own.csv', ...WAN, '--slo', 'rejected=1%'], code: 2, says: /rejected=1%: give p95=2x/ },
  {
    args: ['plan', '--trace', 'own.csv', ...WAN, '--slo', 'p95=2x,p99=4x'],
    code: 2,
    says: /give one quantile of latency, not two/,
  },
  {
    args: ['plan', '--trace', 'own.csv', ...WAN, '--slo', 'p95=99999999x'],
    code: 2,
    says: /lets a request take 2\.13e\+10 s; at most 2000000 s/,
  },
  {
    args: ['plan', '--trace', 'large.csv', ...WAN],
    code: 2,
    says: /request 2 of trace large\.csv takes 2\.13e\+11 s alone/,
  },
  { args: ['plan', '--trace', 'own.csv', ...WAN, '--days', '2'], code: 2, says: /--days is for made traces/ },
  {
    args: ['plan', '--trace', 'gentd26-like', ...WAN, '--rate', '2000'],
    code: 2,
    says: /--rate 2000: .* 0\.01 to 1000/,
  },
  {
    args: ['plan', '--trace', 'day', ...WAN, '--rate', '1000', '--days', '365'],
    code: 2,
    says: /rate times seconds must be at most 2e7 requests/,
  },
  { args: ['plan', '--trace', '.', ...WAN], code: 2, says: /cannot read trace \.: it is a directory/ },
  { args: ['plan', '--trace', 'control.csv', ...WAN], code: 1, says: /has the columns \?\[31mtime,model/ },
  {
    args: ['plan', '--trace', 'own.csv', '--profile', './typed.json'],
    code: 1,
    says: /\.\/typed\.json: .* the profile has a field loadMs/,
  },
  {
    args: ['plan', '--trace', 'own.csv', '--profile', './own.json', '--profile', './marked.json'],
    code: 2,
    says: /--profile: two of them have the id own/,
  },
  { args: ['plan', '--trace', 'own.csv', ...WAN, '--gpu', 'H100:80:'], code: 2, says: /--gpu H100:80:: give a kind/ },
  { args: ['plan', '--trace', 'own.csv', ...WAN, '--gpu', 'H100:1e9'], code: 2, says: /--gpu H100:1e9: give a kind/ },
  {
    args: ['plan', '--trace', 'own.csv', ...WAN, '--gpu', 'H100:24'],
    code: 1,
    says: /stage dit .* needs 32 GB of GPU memory; a H100 has 24/,
  },
  {
    args: ['plan', '--trace', 'own.csv', ...WAN, '--gpu', 'A100:80'],
    code: 1,
    says: /lacks seconds of stage encode on GPU A100/,
  },
  { args: ['plan', '--trace', 'own.csv', ...WAN, '--gpu', 'B200'], code: 2, says: /does not know its memory/ },
  {
    args: ['simulate', '--trace', 'own.csv', ...WAN, '--no-delays', '--tick-seconds', '2'],
    code: 2,
    says: /--no-delays leaves no delay to set/,
  },
  { args: ['plan', '--trace', 'own.csv', ...WAN, '--fleets', 'bound'], code: 2, says: /name another fleet too/ },
  {
    args: ['plan', '--trace', 'own.csv', ...WAN, '--html', '/nope/x.html'],
    code: 1,
    says: /cannot write \/nope\/x\.html/,
  },
];
for (const { args, code, says } of bad) {
  void t.test(args.slice(1).join(' '), async (t) => {
    const ended = await onepiece(args, folder);
    t.equal(ended.code, code, ended.stderr);
    t.match(ended.stderr, says);
    t.equal(ended.stdout, '');
    const lines = ended.stderr
      .trim()
      .split('\n')
      .filter((line) => !line.startsWith('(--help'));
    t.equal(lines.length, 1, 'one line');
  });
}
