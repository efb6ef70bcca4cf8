// `npm run test:native`: builds the native code's own tests (test/native) under sanitizers and runs them with ctest.
//
// Invariant: a report of a sanitizer is a failure of its test, in the test's process and in every process it forks.
import { spawnSync } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

const usage = `Usage: npm run test:native -- [options]

  --only NAME        one build: thread, or address (with undefined behaviour)
  --filter REGEX     only tests whose name matches, as ctest -R
  --repeat N         until one fails, at most N times
  --help             this text

Needs cmake, a C++ compiler and GoogleTest (apt-get install cmake g++ libgtest-dev).
`;

/** Reports end the process with this code, which no test uses. */
const reportCode = 66;
const builds = {
  thread: { flags: '-fsanitize=thread', env: { TSAN_OPTIONS: `halt_on_error=1:exitcode=${reportCode}` } },
  address: {
    flags: '-fsanitize=address,undefined -fno-sanitize-recover=all',
    env: {
      ASAN_OPTIONS: `exitcode=${reportCode}:detect_stack_use_after_return=1`,
      UBSAN_OPTIONS: 'print_stacktrace=1',
    },
  },
};

function run(command, args, env = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  if (result.error) {
    console.error(`${command}: ${result.error.message} (apt-get install cmake g++ libgtest-dev)`);
    return false;
  }
  return result.status === 0;
}

function test(name, { filter, repeat }) {
  const { flags, env } = builds[name];
  const folder = `build-test-native/${name}`;
  const width = String(Math.min(2, os.availableParallelism()));
  const options = ['-DONEPIECE_TESTS=ON', '-DCMAKE_BUILD_TYPE=None', `-DCMAKE_CXX_FLAGS=-O1 -g ${flags}`];
  if (!run('cmake', ['-S', '.', '-B', folder, ...options])) return false;
  if (!run('cmake', ['--build', folder, '--parallel', width])) return false;
  const ctest = ['--test-dir', folder, '--output-on-failure', '--no-tests=error', '--parallel', width];
  if (filter) ctest.push('--tests-regex', filter);
  if (repeat) ctest.push('--repeat', `until-fail:${repeat}`);
  // The places of a process's memory are fixed: where a kernel randomises more of them than the sanitizer knows, it
  // does not start.
  return run('setarch', ['--addr-no-randomize', 'ctest', ...ctest], env);
}

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    filter: { type: 'string' },
    repeat: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) process.stdout.write(usage);
else if (values.only !== undefined && !(values.only in builds)) {
  console.error(usage);
  process.exitCode = 2;
} else {
  const names = values.only === undefined ? Object.keys(builds) : [values.only];
  const failed = names.filter((name) => !test(name, values));
  console.log(
    `# native tests: ${names.join(', ')}: ${failed.length === 0 ? 'passed' : `FAILED: ${failed.join(', ')}`}`,
  );
  process.exitCode = failed.length === 0 ? 0 : 1;
}
