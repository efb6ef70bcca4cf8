// Proves that stages in Python do what stages in JavaScript do: tensors and metadata come and go unchanged, batches and
// several tasks at a time run, progress is reported; that nothing is copied between two of them; and that memory which
// the code keeps never shows another task's bytes.
import t from 'tap';
import { type PipelineEvent, LocalPipeline } from '../../../src/ts/cluster/index.js';
import type { RdmaError, Tensor, Workflow } from '../../../src/ts/pipeline/index.js';
import { tensor } from '../../../src/ts/pipeline/index.js';
import { alive, idle, outcome, start } from '../support.js';
import { until, within } from '../../pipeline/support.js';
import { act, batch, failing, mixed, nothing, pair, together } from './workflows.js';

const SOFT = { device: 'soft0' };
const floats = (length: number, first = 0): Tensor =>
  tensor(
    'f32',
    [length],
    Float32Array.from({ length }, (_, i) => first + (i % 1000)),
  );

async function pythonOf(pipeline: LocalPipeline, place: string) {
  const { python } = (await pipeline.status()).stages[place]!;
  return python!;
}

void t.test('tensors and metadata go through Python, Python and JavaScript, small and large', async (t) => {
  const { pipeline } = await start(t, mixed, SOFT);
  for (const length of [1, 7, 1000, 300_000, 0]) {
    const x = floats(length);
    const { outputs } = await within('a result', pipeline.run({ parts: { x } }), 30_000);
    const got = outputs[0]!.parts.x!;
    t.same(got.shape, [length]);
    t.ok(
      (got.data as Float32Array).every((value, i) => value === (i % 1000) * 2 + 11),
      `${length} elements`,
    );
    t.type((outputs[0]!.meta as { seed: number }).seed, 'number');
  }
  await idle(pipeline);
});

void t.test('between two stages in Python nothing is copied', async (t) => {
  const { pipeline } = await start(t, pair, SOFT);
  const length = 2 ** 20;
  for (let i = 0; i < 5; i++) {
    const { outputs } = await within('a result', pipeline.run({ parts: { x: floats(length, i) } }), 30_000);
    t.equal((outputs[0]!.parts.x!.data as Float32Array)[999], (999 + i) * 2 + 1);
  }
  for (const place of ['double/0', 'increment/0']) {
    const { copiedBytes, segments } = await pythonOf(pipeline, place);
    t.equal(copiedBytes, 0, place);
    t.ok(segments > 0 && segments < 20, `${place} has mapped ${segments} segments`);
  }
  await idle(pipeline);
});

void t.test('what is put, forwarded or empty arrives; text of every kind too', async (t) => {
  const { pipeline } = await start(t, act, SOFT);
  const x = floats(5000);
  const { outputs } = await within('a result', pipeline.run({ meta: { act: 'puts' }, parts: { x } }), 30_000);
  const { meta, parts } = outputs[0]!;
  t.same(meta, { text: '\u00e9\u2028\u{1f600}' });
  t.same([...(parts.a!.data as Int32Array)], [0, 1, 2, 3, 4, 5]);
  t.same([parts.a!.dtype, ...parts.a!.shape], ['i32', 2, 3]);
  t.same([parts.b!.dtype, ...parts.b!.shape], ['u16', 2, 2]);
  t.equal(Buffer.from(parts.b!.data.buffer as ArrayBuffer, parts.b!.data.byteOffset, 8).toString(), '12345678');
  t.same([parts.c!.dtype, ...parts.c!.shape], ['f32', 0, 4]);
  t.ok((parts.d!.data as Uint8Array).length === 100_000 && (parts.d!.data as Uint8Array).every((value) => value === 7));
  t.same(parts.x!.data, x.data);
  t.ok((await pythonOf(pipeline, 'act/0')).copiedBytes >= 100_000, 'a part that is put is counted as copied');
  for (const bytes of [100_000, 900_000]) {
    const large = await within('a result', pipeline.run({ meta: { act: 'large-meta', bytes } }), 30_000);
    t.equal((large.outputs[0]!.meta as { text: string }).text.length, bytes);
  }
  await idle(pipeline);
});

void t.test('a request with no tensors, many times: records go round their rings', async (t) => {
  const { pipeline } = await start(t, nothing, SOFT);
  const text = 'x'.repeat(20_000);
  const client = async () => {
    for (let i = 0; i < 150; i++) t.same((await pipeline.run({ meta: { text } })).outputs[0]!.meta, {});
  };
  await within('all', Promise.all([client(), client(), client(), client()]), 60_000);
  await idle(pipeline);
});

void t.test('an array that the code keeps shows what it showed; other views raise', async (t) => {
  const { pipeline } = await start(t, act, SOFT);
  const count = 200_000;
  const sum = (first: number) => Array.from({ length: count }, (_, i) => first + (i % 1000)).reduce((a, b) => a + b, 0);
  for (let i = 0; i < 4; i++) {
    const parts = { x: floats(count, i) };
    const { outputs } = await within('a result', pipeline.run({ meta: { act: 'keeps' }, parts }), 30_000);
    const { sums } = outputs[0]!.meta as { sums: number[] };
    t.equal(sums.length, i);
    // Sums of float32: near enough to tell one task from another.
    for (const [at, value] of sums.entries()) t.ok(Math.abs(value - sum(at)) < 1000, `the array of task ${at}`);
  }
  const use = { meta: { act: 'uses-late' }, parts: { x: floats(count) } };
  const first = await within('a result', pipeline.run(use), 30_000);
  t.equal((first.outputs[0]!.meta as { answers: string[] }).answers.length, 0);
  const { outputs } = await within('a result', pipeline.run(use), 30_000);
  t.same((outputs[0]!.meta as { answers: string[] }).answers, [
    'ValueError',
    'ValueError',
    'ValueError',
    'RuntimeError',
    'RuntimeError',
  ]);
  await idle(pipeline);
});

void t.test('batches run together; one of a batch fails alone', async (t) => {
  const { pipeline } = await start(t, batch, SOFT);
  const runs = Array.from({ length: 4 }, (_, n) => pipeline.run({ meta: n === 2 ? { n, act: 'raises' } : { n } }));
  const ends = await within('all', Promise.all(runs.map((each) => each.catch((error: RdmaError) => error))), 30_000);
  for (const [n, end] of ends.entries()) {
    if (n === 2) t.match(end, { code: 'RDMA_ERR_STAGE_FAILED', message: /ValueError: this one/ });
    else t.match(end, { outputs: [{ meta: { n, of: 4 } }] });
  }
  await idle(pipeline);
});

void t.test('an async stage runs several tasks at a time, each with its own memory', async (t) => {
  const { pipeline } = await start(t, together, SOFT);
  // Many times: a task that comes while another one asks for its output has to begin anyway.
  for (let round = 0; round < 50; round++) {
    const runs = Array.from({ length: 4 }, (_, n) =>
      pipeline.run({ meta: { n, count: 4 }, parts: { x: floats(5000, n) } }),
    );
    const results = await within(`round ${round}`, Promise.all(runs), 30_000);
    const wrong = results.filter(({ outputs }, n) => {
      const { data } = outputs[0]!.parts.x!;
      return !(data as Float32Array).every((value, i) => value === (i % 1000) + 2 * n);
    });
    t.equal(wrong.length, 0);
  }
  await idle(pipeline);
});

void t.test('progress and previews are reported', async (t) => {
  const events: PipelineEvent[] = [];
  const { pipeline } = await start(t, act, { ...SOFT, onEvent: (event) => events.push(event) });
  await within('a result', pipeline.run({ meta: { act: 'tells' } }), 30_000);
  await until('the event', () =>
    events.some((event) => event.type === 'stage' && event.event.type === 'progress' && event.event.step === 1),
  );
  const progress = events.find((event) => event.type === 'stage' && event.event.type === 'progress');
  t.match(progress, { event: { done: 0.5, step: 1 } });
});

void t.test('errors are those of the request, with the place in the code', async (t) => {
  const { pipeline } = await start(t, act, SOFT);
  const pid = ((await pipeline.run({})).outputs[0]!.meta as { pid: number }).pid;
  const expected: readonly [string, RegExp][] = [
    ['raises', /ValueError: what the test wants\n(.|\n)*stages\.py", line \d+, in raises/],
    ['exits', /SystemExit: 3/],
    ['wrong-dtype', /TypeError: dtype 'f33' is none of u8/],
    ['wrong-shape', /ValueError: a size is 0 or more/],
    ['too-large', /MemoryError: output 'x' has 8589934592 bytes; .* 4194304 .*maxOutputBytes(.|\n)*in too_large/],
    ['says-much', /ValueError: begin \\ud800yyy(.|\n)*\.\.\.\n(.|\n)*in says_much/],
    ['returns-list', /TypeError: a stage returns a dict of metadata/],
    ['returns-nan', /ValueError: Out of range float.*metadata is what JSON has/],
    ['no-such-act', /AttributeError: /],
  ];
  for (const [name, message] of expected) {
    const error = await within(name, outcome(pipeline.run({ meta: { act: name } })), 30_000);
    t.match(error, { code: 'RDMA_ERR_STAGE_FAILED', stage: 'act', message }, name);
  }
  t.equal(((await pipeline.run({})).outputs[0]!.meta as { pid: number }).pid, pid, 'by one process');
  await idle(pipeline);
});

void t.test('what cannot start says why, in one error, and leaves nothing running', async (t) => {
  const expected: readonly [Workflow, RegExp][] = [
    [failing.setup, /Fails of .*stages\.py cannot start: RuntimeError: no model here/],
    [failing.name, /stages\.py has no 'Nobody'; its stages are: Act, Batch, Fails, double/],
    [failing.file, /there is no file .*nowhere\.py/],
    [
      failing.package,
      /ModuleNotFoundError: No module named 'no_such_module_of_the_tests'(.|\n)*install it for \/usr\/bin/,
    ],
    [failing.interpreter, /no-such-python cannot be started: .*ENOENT; install Python 3\.9/],
    [failing.concurrency, /concurrency is 2, and Act takes one at a time: make it async/],
  ];
  for (const [workflow, message] of expected) {
    const error = await within('the failure', outcome(LocalPipeline.start(workflow, SOFT)), 30_000);
    t.match(error, { code: 'RDMA_ERR_STAGE_FAILED', message }, workflow.name);
  }
});

void t.test('when the pipeline is closed its Python processes are gone', async (t) => {
  const pipeline = await LocalPipeline.start(act, SOFT);
  const { pid } = (await pipeline.run({})).outputs[0]!.meta as { pid: number };
  t.ok(alive(pid));
  await within('the close', pipeline.close());
  await until('its end', () => !alive(pid));
});
