// Runs inside a guest: asks a gateway for one clip, tells what happens, and compares the clip with a file.
// Invariant: one JSON document a line: each event of the job that names a stage, then `{ "at": "clip", "bytes",
// "sha256", "isSame" }`. It ends with 0 when the clip has come, whatever it is.
//
// node clip-client.mjs URL PICTURE ORDER EXPECTED

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const [url, picture, order, expected] = process.argv.slice(2);
const say = (document) => process.stdout.write(`${JSON.stringify(document)}\n`);

async function ask(path, options) {
  const answer = await fetch(`${url}${path}`, options);
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer;
}

/** Tells each event until the outcome. */
async function follow(id) {
  let rest = '';
  const answer = await ask(`/v1/jobs/${id}/events`);
  for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + text).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (data === undefined) continue;
      const { type, stage, instance, done, error } = JSON.parse(data);
      say({ at: 'event', type, stage, instance, done, error });
      if (type === 'failed' || type === 'cancelled') throw new Error(`the job ${type}`);
      if (type === 'done') return;
    }
  }
  throw new Error('the events ended before the job did');
}

const form = new FormData();
form.set('meta', order);
form.set('picture', new Blob([readFileSync(picture)]), 'picture');
const { id } = await (await ask('/v1/jobs', { method: 'POST', body: form })).json();
await follow(id);
const clip = Buffer.from(await (await ask(`/v1/jobs/${id}/result/assemble/clip`)).arrayBuffer());
say({
  at: 'clip',
  bytes: clip.length,
  sha256: createHash('sha256').update(clip).digest('hex'),
  isSame: clip.equals(readFileSync(expected)),
});
