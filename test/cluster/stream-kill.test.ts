// Proves that results of streaming stages are whole and right whichever of their processes is killed in the middle of a
// stream: the first, the one between, the last, and all of them; and that a caller who reads pieces hears of it.
import t from 'tap';
import type { LocalPipeline } from '../../src/ts/cluster/index.js';
import type { PieceEvent } from '../../src/ts/pipeline/index.js';
import { until, within } from '../pipeline/support.js';
import { PIECES, streamRequest, streams } from './streams.js';
import { start } from './support.js';

const STAGES = ['make', 'change', 'sum'];
const CLIENTS = 3;

function kill(pipeline: LocalPipeline, stages: readonly string[]): number {
  const victims = pipeline.processes.filter(({ stage }) => stages.includes(stage));
  for (const { pid } of victims) process.kill(pid, 'SIGKILL');
  return victims.length;
}

// Hears pieces as a caller does: in order, and from the first again after a restart.
function listener() {
  const heard = { next: 0, restarts: 0, wrong: [] as string[] };
  const onPiece = (event: PieceEvent) => {
    if (event.type === 'restarted') {
      if (heard.next === 0) heard.wrong.push('a restart before the first piece');
      heard.next = 0;
      heard.restarts++;
    } else if (event.number !== heard.next++ || event.meta.number !== event.number) {
      heard.wrong.push(`piece ${event.number} came as number ${heard.next - 1}`);
    }
  };
  return { heard, onPiece };
}

for (const stages of [['make'], ['change'], ['sum'], STAGES]) {
  void t.test(`${stages.join(', ')} may be killed in the middle of streams`, async (t) => {
    const { pipeline } = await start(t, streams, { maxRestarts: 100 });
    const wrong: string[] = [];
    let next = 0;
    let killed = 0;
    let restarts = 0;
    const client = async () => {
      while (next < 12) {
        const seed = next++;
        const { request, result } = streamRequest(seed);
        const { heard, onPiece } = listener();
        let isLast = false;
        const killing = (event: PieceEvent) => {
          onPiece(event);
          // Of every fourth request, when its stream has come half the way; once.
          if (isLast || seed % 4 !== 1 || event.type !== 'piece' || event.number < PIECES / 2) return;
          isLast = true;
          killed += kill(pipeline, stages);
        };
        const { outputs } = await within(`request ${seed}`, pipeline.run(request, { onPiece: killing }), 60_000);
        const { meta, pieces } = outputs[0]!;
        if (JSON.stringify(meta) !== JSON.stringify(result)) wrong.push(`${seed}: ${JSON.stringify(meta)}`);
        if (heard.next !== PIECES || pieces?.length !== PIECES) wrong.push(`${seed}: ${heard.next} pieces`);
        wrong.push(...heard.wrong);
        restarts += heard.restarts;
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
    t.same(wrong, []);
    t.ok(killed >= 3 * stages.length - 2, `${killed} kills`);
    t.ok(restarts > 0, `${restarts} streams began again`);
    await until('all replacements', () => pipeline.processes.length === STAGES.length);
  });
}

void t.test('a result is read piece by piece, and whoever leaves gives the request up', async (t) => {
  const { pipeline } = await start(t, streams);
  const { request, result } = streamRequest(77);
  const stream = pipeline.stream(request);
  const numbers: number[] = [];
  for await (const event of stream) if (event.type === 'piece') numbers.push(event.number);
  t.same(
    numbers,
    Array.from({ length: PIECES }, (_, i) => i),
  );
  t.same((await stream.result).outputs[0]?.meta, result);
  const left = pipeline.stream(request);
  for await (const event of left) if (event.type === 'piece') break;
  await t.rejects(left.result, { code: 'RDMA_ERR_ABORTED' });
  t.same(pipeline.load, { inFlight: 0, queued: 0 });
});
