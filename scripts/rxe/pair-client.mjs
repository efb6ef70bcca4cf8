// Runs inside a guest: one job at a gateway, from the picture to the clip.
// Invariant: one JSON document a line, and the last one is of the clip as it came over HTTP; whatever is not as it should
// be ends it with 1.
//
// node pair-client.mjs URL PICTURE META-AS-JSON

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';

const [url, picture, meta] = process.argv.slice(2);
const say = (document) => process.stdout.write(`${JSON.stringify(document)}\n`);

async function answer(where, options) {
  const response = await fetch(new URL(where, url), options);
  if (!response.ok) throw new Error(`${where}: ${response.status} ${await response.text()}`);
  return response;
}

const body = new FormData();
body.set('meta', meta);
body.set('picture', new Blob([await readFile(picture)], { type: 'image/jpeg' }), 'photo.jpg');
const submitted = await answer('/v1/jobs', { method: 'POST', body });
const job = submitted.headers.get('location');
say({ at: 'accepted', job });

const events = await answer(`${job}/events`);
for await (const line of createInterface({ input: Readable.fromWeb(events.body) })) {
  if (!line.startsWith('data: ')) continue;
  const { type, stage, instance, done, attempt } = JSON.parse(line.slice('data: '.length));
  say({ at: type, stage, instance, done, attempt });
}
const clip = await answer(`${job}/result/assemble/clip?waitMs=60000`);
if (clip.status !== 200) throw new Error(`no clip: ${clip.status} ${await clip.text()}`);
const bytes = Buffer.from(await clip.arrayBuffer());
say({ at: 'clip', bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') });
