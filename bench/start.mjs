// What a pipeline of processes costs before its first request: time to start, memory at rest, CPU at rest.
//
// Usage: npm run build && node bench/start.mjs [--stages 3] [--rounds 5] [--idle 20] [--output-bytes 65536] [--esm]
// Invariant: the handlers do nothing and load nothing, so what is measured is the package's own; one JSON line on stdout.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
