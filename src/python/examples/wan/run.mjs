// Makes clips by the pipeline of workflow.mjs, as all.py does without one; prints a line of JSON for each clip.
//
//   WAN_OPTIONS='{"tiny":true}' node src/python/examples/wan/run.mjs [clips] [height] [width]
//
// Invariant: the same requests as all.py, one after the other: seconds and checksums can be compared.
import { createHash } from 'node:crypto';
import { LocalPipeline } from 'onepiece-rdma/cluster';
import { tensor } from 'onepiece-rdma/pipeline';
import { wan } from './workflow.mjs';

const [clips = 2, height = 480, width = 832] = process.argv.slice(2).map(Number);

const picture = new Uint8Array(height * width * 3);
for (let y = 0; y < height; y++) {
  for (let x = 0; x < width; x++) {
    const down = Math.floor((y * 255) / Math.max(1, height - 1));
    const right = Math.floor((x * 255) / Math.max(1, width - 1));
    picture.set([down, right, Math.floor((down + right) / 2)], (y * width + x) * 3);
  }
}

const pipeline = await LocalPipeline.start(wan, { device: 'soft0' });
try {
  for (let seed = 0; seed < clips; seed++) {
    const began = performance.now();
    const { outputs } = await pipeline.run({
      meta: { prompt: 'a ship sails into the evening', seed },
      parts: { picture: tensor('u8', [height, width, 3], picture) },
    });
    const { shape, data } = outputs[0].parts.frames;
    const seconds = (performance.now() - began) / 1000;
    const checksum = createHash('sha256').update(data).digest('hex').slice(0, 16);
    console.log(JSON.stringify({ row: 'wan-pipeline', clip: seed, seconds, shape, checksum }));
  }
} finally {
  await pipeline.close();
}
