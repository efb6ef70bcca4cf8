// Proves that batches of real processes account for every request, whichever process is killed in the middle of one:
// each ends once, with its own result or its own error, and with nobody else's.
import t from 'tap';
import type { LocalPipeline } from '../../src/ts/cluster/index.js';
import type { ProgressEvent } from '../../src/ts/pipeline/index.js';
import { until, within } from '../pipeline/support.js';
import { batches } from './batch-workflow.js';
import { idle, start } from './support.js';

// Runs requests with several clients; answers what went wrong.
async function load(
  pipeline: LocalPipeline,
  count: number,
  onEnd: (ended: number) => void = () => {},
): Promise<{ ended: number; wrong: string[] }> {
  let next = 0;
  let ended = 0;
  const wrong: string[] = [];
  const client = async () => {
    while (next < count) {
      const n = next++;
      const fails = n % 50 === 49;
      try {
        const { outputs } = await within(`request ${n}`, pipeline.run({ meta: { n } }), 60_000);
        const { meta } = outputs[0]!;
        if (fails || outputs.length !== 1 || meta.n !== n || meta.square !== n * n) {
          wrong.push(`${n}: ${JSON.stringify(meta)}`);
        }
      } catch (error) {
        if (!fails || !String(error).includes(`${n} is not to be squared`)) wrong.push(`${n}: ${String(error)}`);
      }
      onEnd(++ended);
    }
  };
  await Promise.all(Array.from({ length: 20 }, client));
  return { ended, wrong };
}

void t.test('every request of a batch gets its own answer', async (t) => {
  const { pipeline } = await start(t, batches);
  t.same(await load(pipeline, 200), { ended: 200, wrong: [] });
  const { stages } = await pipeline.status();
  for (const place of ['square/0', 'square/1', 'steps/0']) {
    const { tasks = 0, started = 0 } = stages[place]?.batches ?? {};
    t.ok(started > 0 && tasks > 1.2 * started, `${place}: ${tasks} tasks in ${started} batches`);
  }
  await idle(pipeline);
});

void t.test('processes that are killed in a batch lose no request, and mix none', async (t) => {
  const { pipeline, pids } = await start(t, batches, { maxRestarts: 100 });
  const places = ['square/0', 'steps/0', 'square/1', 'steps/0', 'square/0', 'steps/0'];
  let next = 15;
  let killed = 0;
  const outcome = await load(pipeline, 240, (ended) => {
    if (ended < next || killed === places.length) return;
    next = ended + 30;
    const [stage, instance] = places[killed]!.split('/');
    const victim = pipeline.processes.find((each) => each.stage === stage && each.instance === Number(instance));
    if (victim === undefined) return; // It is being replaced; the next end comes soon.
    process.kill(victim.pid, 'SIGKILL');
    killed++;
    pids();
  });
  t.same(outcome, { ended: 240, wrong: [] });
  t.ok(killed >= 4, `${killed} kills`);
  await until('all replacements', () => pipeline.restarts.length === killed);
  t.same(await load(pipeline, 40), { ended: 40, wrong: [] }, 'and goes on');
  await idle(pipeline);
});

void t.test('a request that kills its process fails, and its neighbours in the batch do not', async (t) => {
  const { pipeline } = await start(t, batches, { maxRestarts: 100 });
  const poison = pipeline.run({ meta: { n: 1000, poison: true } }).then(
    () => 'a result',
    (error: Error & { code?: string }) => `${error.code}: ${error.message}`,
  );
  t.same(await load(pipeline, 120), { ended: 120, wrong: [] });
  t.match(await within('its end', poison, 60_000), /RDMA_ERR_STAGE_FAILED: .*square/);
  t.ok(pipeline.restarts.length >= 3, `${pipeline.restarts.length} deaths`);
  t.same(await load(pipeline, 40), { ended: 40, wrong: [] }, 'and goes on');
  await idle(pipeline);
});

void t.test('a whole pipeline tells of progress by its events and by request', async (t) => {
  const told: string[] = [];
  const heard: string[] = [];
  const { pipeline } = await start(t, batches, {
    onEvent: (event) => {
      if (event.type !== 'stage') return;
      const { event: said } = event;
      const more = said.type === 'progress' ? ` ${said.done} ${said.step} ${String(said.preview)}` : '';
      told.push(`${event.stage} ${said.type}${more}`);
    },
  });
  const onProgress = ({ stage, done, step, preview }: ProgressEvent) =>
    void heard.push(`${stage} progress ${done} ${step} ${String(preview)}`);
  await within('a result', pipeline.run({ meta: { n: 3 } }, { onProgress }));
  t.same(heard, ['square progress 0.5 1 half of 1']);
  t.ok(told.includes(heard[0]!), 'and so does whoever watches the pipeline');
  for (const what of ['square task', 'square done', 'steps task', 'steps done']) t.ok(told.includes(what), what);
});
