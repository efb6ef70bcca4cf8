// Proves that the examples of Python stages run in a pipeline, at tiny sizes on a CPU: the pipeline makes the same
// bytes as one script, and prompts that share a batch get the answers that each gets alone.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import t, { type Test } from 'tap';

const PYTHON = '/usr/bin/python3';
const folder = path.resolve(__dirname, '../../../src/python');
const withTorch = spawnSync(PYTHON, ['-c', 'import torch'], { timeout: 60_000 }).status === 0;
const skip = withTorch ? false : 'PyTorch is not installed (Debian: python3-torch)';

function lines(t: Test, command: string, args: string[], env: Record<string, string>): Record<string, unknown>[] {
  const options = { cwd: folder, encoding: 'utf8', timeout: 120_000, env: { ...process.env, ...env } } as const;
  const { status, stdout, stderr } = spawnSync(command, args, options);
  t.equal(status, 0, `${command} ${args.join(' ')}${status === 0 ? '' : `\n${stderr}`}`);
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

void t.test('Wan: the pipeline makes the frames that one script makes', { skip }, async (t) => {
  const env = { WAN_OPTIONS: '{"tiny":true}', WAN_PYTHON: PYTHON, PYTHONDONTWRITEBYTECODE: '1' };
  const made = lines(t, process.execPath, ['examples/wan/run.mjs', '2', '32', '48'], env);
  const wanted = lines(t, PYTHON, ['-m', 'examples.wan.all', '--tiny', '--clips', '2'], env);
  t.equal(made.length, 2);
  t.same(
    made.map(({ checksum }) => checksum),
    wanted.map(({ checksum }) => checksum),
  );
  t.not(made[0]?.checksum, made[1]?.checksum, 'seeds differ');
});

void t.test('prefill and decode: more prompts than slots get the answers that each gets alone', { skip }, async (t) => {
  const LLM_OPTIONS = JSON.stringify({ layers: 2, width: 128, vocabulary: 300, longest: 64, slots: 3 });
  const env = { LLM_OPTIONS, LLM_PYTHON: PYTHON, PYTHONDONTWRITEBYTECODE: '1' };
  const together = lines(t, process.execPath, ['examples/llm/run.mjs', '5'], env);
  const alone = lines(t, process.execPath, ['examples/llm/run.mjs', '5', 'alone'], env);
  t.equal(together.length, 5);
  t.same(together, alone);
  t.same(
    together.map(({ ids }) => (ids as number[]).length),
    [4, 7, 10, 13, 16],
  );
});
