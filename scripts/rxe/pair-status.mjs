// Runs inside a guest: what the store of a cluster says, again and again.
// Invariant: one JSON document a line, each of one moment; it writes nothing to the store.
//
// node pair-status.mjs CONTROL-URL

import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';

const require = createRequire(import.meta.url);
const { overview } = require('../../lib/cluster/index.js');
const { natsControlStore } = require('../../lib/control/index.js');

const BETWEEN_MS = 1000;

const store = await natsControlStore({ servers: [process.argv[2]] });
for (;;) {
  const seen = await overview(store, 60_000).catch(({ message }) => ({ error: message }));
  process.stdout.write(`${JSON.stringify(seen)}\n`);
  await sleep(BETWEEN_MS);
}
