// The program of a worker process: compiles the bundle, and runs it.
//
// Invariant: nothing else of this package is read from a file. Errors name lines of the bundle, or of the sources when
// Node.js maps them: it does that only for code that it has compiled itself.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { codeCacheFolder, compileModule } from './code-cache.js';
import type { runWorker } from './worker-main.js';

const bundle = join(__dirname, 'worker-bundle.js');
const importModule = (url: string) => import(url);

interface Bundle {
  runWorker: typeof runWorker;
}

if (process.sourceMapsEnabled) {
  const { runWorker } = require(bundle) as Bundle;
  runWorker(importModule, () => {});
} else {
  const { run, keep } = compileModule(bundle, readFileSync(bundle), codeCacheFolder());
  const module = { exports: {} };
  run(module.exports, createRequire(bundle), module, bundle, dirname(bundle));
  (module.exports as Bundle).runWorker(importModule, keep);
}
