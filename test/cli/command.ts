// Runs the command line as a person would, and looks at what it leaves behind. Not a test.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../src/ts/addon/native.js';
import { waiting } from '../until.js';

export const MAIN = join(__dirname, '../../src/ts/cli/main.js');
export const PHOTO = join(packageRoot(), 'photo.jpg');
const LIMIT_MS = 90_000;

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface Running {
  child: ChildProcess;
  ended: Promise<Ended>;
}

/** Starts `onepiece` with these arguments, in its own process group. */
export function start(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = process.env): Running {
  const stdio = ['ignore', 'pipe', 'pipe'] as ['ignore', 'pipe', 'pipe'];
  const child = spawn(process.execPath, [MAIN, ...args], { cwd, env, detached: true, stdio });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout, stderr });
    });
  });
  return { child, ended };
}

export function onepiece(args: readonly string[], cwd: string): Promise<Ended> {
  return start(args, cwd).ended;
}

/** A folder of one's own, removed with the process. */
export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'onepiece-cli-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

interface Process {
  pid: number;
  parent: number;
  group: number;
  zombie: boolean;
}

function processes(): Process[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        const [state, parent, group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        return [{ pid: Number(name), parent: Number(parent), group: Number(group), zombie: state === 'Z' }];
      } catch {
        return []; // it ended meanwhile
      }
    });
}

/** Children of `pid` that run. */
export function childrenOf(pid: number): number[] {
  return processes()
    .filter((p) => p.parent === pid && !p.zombie)
    .map((p) => p.pid);
}

/** Processes of a group that run. */
export function groupOf(group: number): number[] {
  return processes()
    .filter((p) => p.group === group && !p.zombie)
    .map((p) => p.pid);
}

/** Whether a process runs. */
export function runs(pid: number): boolean {
  return processes().some((p) => p.pid === pid && !p.zombie);
}

export const until = waiting({ limitMs: 20_000 });
