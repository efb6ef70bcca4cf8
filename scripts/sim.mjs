// `npm run sim -- ...`: builds the tests and runs rings or pipelines under the simulation (docs/ring-simulation.md,
// docs/pipeline-simulation.md).
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const run = (file, args, stdio) => spawnSync(process.execPath, [path.join(root, file), ...args], { cwd: root, stdio });

// What the build says goes to stderr: stdout is for results.
const built = run('scripts/build-ts.mjs', ['--test'], ['inherit', 2, 'inherit']);
const result = built.status === 0 ? run('build-test/test/sim/main.js', process.argv.slice(2), 'inherit') : built;
if (result.signal) process.kill(process.pid, result.signal);
process.exitCode = result.status ?? 1;
