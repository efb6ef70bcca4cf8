// The pipeline of service.mts: a grey picture is blurred by two processes, half of its rows in each.
//
// Worker processes import this file, so it must not start anything by itself.
import { setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type StageOutput, type StageTask, workflow } from 'onepiece-rdma/pipeline';

/** A `shard` stage runs in all of its instances; each makes its own share of the rows. */
export async function blurRows(task: StageTask): Promise<StageOutput> {
  const picture = task.input('request').parts.picture;
  if (picture?.dtype !== 'u8' || picture.shape.length !== 2) throw new TypeError('picture: u8 of [rows, columns]');
  const radius = Number(task.input('request').meta.radius);
  const [rows = 0, columns = 0] = picture.shape;
  const from = Math.floor((rows * task.instance) / task.instances);
  const to = Math.floor((rows * (task.instance + 1)) / task.instances);

  const pixels = picture.data as Uint8Array; // a view of the memory that the service sent from: read it only
  const { blurred } = task.output({ blurred: { dtype: 'u8', shape: [to - from, columns] } }); // sent from where it is
  const out = blurred.data as Uint8Array;
  for (let row = from; row < to; row++) {
    if (row % 16 === 0) await turn(); // a process hears of an abort between two turns of its event loop
    task.signal.throwIfAborted(); // the client has gone, or the deadline has passed
    for (let column = 0; column < columns; column++) {
      let sum = 0;
      let count = 0;
      for (let y = Math.max(0, row - radius); y <= Math.min(rows - 1, row + radius); y++) {
        for (let x = Math.max(0, column - radius); x <= Math.min(columns - 1, column + radius); x++) {
          sum += pixels[y * columns + x] ?? 0;
          count++;
        }
      }
      out[(row - from) * columns + column] = Math.round(sum / count);
    }
  }
  return { parts: { blurred } };
}

export const blur = workflow('blur', { module: fileURLToPath(import.meta.url) }).stage('blur', {
  instances: 2,
  spread: 'shard',
  maxOutputBytes: 16 * 2 ** 20,
  taskTimeoutMs: 10_000,
  handler: blurRows,
});
