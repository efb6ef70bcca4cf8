// Proves that the examples of Python stages run in a pipeline, at tiny sizes on a CPU: the pipeline makes the same
// bytes as one script, prompts that share a batch get the answers that each gets alone, and models under bursts make
// the same frames however they are cut.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';

const PYTHON = '/usr/bin/python3';
const folder = path.resolve(__dirname, '../../../src/python');
const withTorch = spawnSync(PYTHON, ['-c', 'import torch'], { timeout: 60_000 }).status === 0;
const skip = withTorch ? false : 'PyTorch is not installed (Debian: python3-torch)';

/** A line of bursts.mjs. */
interface BurstsRow {
  readonly requests: number;
  readonly measured: { readonly swaps: number };
  readonly predicted: { readonly p50S: number };
  readonly checksums: readonly string[][];
}

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

void t.test('Wan under bursts: fleets answer alike, and a line is predicted again as it was', { skip }, async (t) => {
  const env = { WAN_OPTIONS: '{"tiny":true}', WAN_PYTHON: PYTHON, PYTHONDONTWRITEBYTECODE: '1' };
  const program = 'examples/wan/bursts.mjs';
  const load = [program, '--gpus', '0', '--models', '2', '--rate', '2', '--seconds', '4', '--fleets'];
  const measure = (fleet: string) => lines(t, process.execPath, [...load, fleet], env);
  const rows = ['mono-light', 'packed'].flatMap(measure) as unknown as BurstsRow[];
  t.match(rows, [{ fleet: 'mono-light' }, { fleet: 'packed' }]);
  for (const { requests, measured, predicted } of rows) {
    t.ok(requests >= 3, `${requests} requests`);
    t.ok(measured.swaps > 0 && predicted.p50S > 0);
  }
  t.same(rows[1]!.checksums, rows[0]!.checksums);
  const file = path.join(t.testdir(), 'rows.jsonl');
  writeFileSync(file, `${rows.map((row) => JSON.stringify({ ...row, predicted: null })).join('\n')}\n`);
  t.same(lines(t, process.execPath, [program, '--from', file], env), rows);
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
