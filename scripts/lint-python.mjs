// Checks src/python and the example of a stage: types with mypy --strict (onepiece_stage and the example), style with
// ruff (all).
//
// Invariant: a missing tool is reported as skipped, not as a success; a finding of any tool fails this.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const folder = path.join(root, 'src', 'python');
const example = '../../examples/python-stage/mood.py';
// Their caches stay out of the package; their settings, strictness among them, are in pyproject.toml.
const tools = [
  { name: 'mypy', args: ['--cache-dir=/dev/null', 'onepiece_stage', example], install: 'apt-get install mypy' },
  {
    name: 'ruff',
    args: ['check', '--no-cache', '--config=pyproject.toml', 'onepiece_stage', 'examples', 'bench', example],
    install: 'pip install ruff',
  },
];

let isBad = false;
for (const { name, args, install } of tools) {
  const { error, status, signal } = spawnSync(name, args, { cwd: folder, stdio: 'inherit', timeout: 300_000 });
  if (error?.code === 'ENOENT') {
    console.log(`SKIPPED ${name} of src/python: it is not installed (${install})`);
  } else if (error !== undefined || status !== 0) {
    console.error(`${name} of src/python: ${error?.message ?? (signal === null ? `exit code ${status}` : signal)}`);
    isBad = true;
  }
}
process.exitCode = isBad ? 1 : 0;
