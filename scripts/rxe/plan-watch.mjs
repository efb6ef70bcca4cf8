// Runs inside a guest: tells what a gateway shows of its cluster, whenever that has changed.
// Invariant: one JSON document a line, `{ nodes, places, unplaced }`; the last line is what there is. It ends when the
// gateway does not answer.
//
// node plan-watch.mjs URL

import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_MS = 1500;
const [url] = process.argv.slice(2);

let told = '';
for (;;) {
  const answer = await fetch(`${url}/v1/cluster`);
  if (answer.status === 503)
    process.stderr.write(`${await answer.text()}\n`); // the store has not been seen yet
  else if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  else {
    const { nodes, apps } = await answer.json();
    const line = JSON.stringify({
      nodes: nodes.map(({ name }) => name),
      places: apps.flatMap(({ places }) => places.map(({ pid: _, ...place }) => place)),
      unplaced: apps.flatMap(({ unplaced }) => unplaced),
    });
    if (line !== told) process.stdout.write(`${line}\n`);
    told = line;
  }
  await sleep(LOOK_MS);
}
