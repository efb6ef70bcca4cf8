// Checks src/python: its types by mypy --strict, its style by ruff. Invariant: a tool that is missing is said, never taken
// for a success of its own; one that is there and finds something fails this.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const folder = path.join(root, 'src', 'python');
// What they cache stays out of the package; settings, strictness among them, are in pyproject.toml.
const tools = [
  { name: 'mypy', args: ['--cache-dir=/dev/null', 'onepiece_stage'], install: 'apt-get install mypy' },
  { name: 'ruff', args: ['check', '--no-cache', 'onepiece_stage'], install: 'pip install ruff' },
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
