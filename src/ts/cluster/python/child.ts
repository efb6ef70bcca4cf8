// One Python process of a stage, seen from the stage process that has started it.
//
// Invariant: exactly one `onExit` follows every start, whatever ended the process; by then all that it has sent was
// taken, it has no thread that could touch shared memory, and nothing that it has started runs any more: its keeper
// (keeper.py), which is the process that is started here, sees to that, also when this process has ended.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { RdmaError } from '../../core/errors.js';
import type { PythonSpec } from '../../pipeline/python-spec.js';
import type { Poller, PollerSource } from '../../ring/index.js';
import { createChannelPair } from '../../verbs/descriptors.js';
import { EventFd } from '../../verbs/event-fd.js';
import { packageRoot } from '../../addon/native.js';
import { createSharedMemory, releaseSharedMemory } from '../../verbs/shared-memory.js';
import { LogLines } from './log-lines.js';
import { Mailbox, MAILBOX_BYTES } from './mailbox.js';
import { type FromPython, readRecord, type ToPython } from './records.js';
import { Segments } from './segments.js';

export interface ChildHooks {
  onRecord(record: FromPython): void;
  /** `reason` in words; `printed`: the last of what it has printed. */
  onExit(reason: string, printed: string): void;
}

/** How long a process may take to end after it was asked to, in ms. */
const STOP_MS = 500;
/** How long its keeper may take to end it and what it has started, in ms. */
const KILL_MS = 2000;

/** Where the package `onepiece_stage` is. @throws RdmaError RDMA_ERR_NOT_SUPPORTED in a bundle */
function packageFolder(): string {
  const folder = join(packageRoot(), 'src', 'python');
  if (existsSync(join(folder, 'onepiece_stage', '__main__.py'))) return folder;
  throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', `the Python package onepiece_stage is not in ${folder}`, {
    remedy: 'keep onepiece-rdma out of the bundle (esbuild: --external:onepiece-rdma)',
  });
}

export class PythonChild {
  readonly segments: Segments;
  private verdict: string | undefined; // why it is being ended from here, in words
  private wasStopped = false;
  private readonly process: ChildProcess;
  private readonly mailbox: Mailbox;
  private readonly memory: ArrayBuffer;
  private readonly socket: number;
  private readonly toPython: EventFd;
  private readonly toNode: EventFd;
  private readonly source: PollerSource;
  private readonly hooks: ChildHooks;
  private readonly log: LogLines;
  private waiting: string[] = []; // records for which there was no room
  private ownPid: number | undefined;
  private failure: RdmaError | undefined;
  private timer: NodeJS.Timeout | undefined;
  private readonly exited: Promise<void>;
  private isOver = false;

  /**
   * @param name of its place, `stage/0`
   * @param poller looks at what comes from Python, beside what else this process waits for
   * @throws RdmaError EMFILE, ENOMEM; RDMA_ERR_NOT_SUPPORTED in a bundle
   */
  constructor(name: string, python: PythonSpec, poller: Poller, hooks: ChildHooks) {
    const folder = packageFolder();
    this.hooks = hooks;
    this.log = new LogLines(name);
    const memory = createSharedMemory(MAILBOX_BYTES);
    const channel = createChannelPair();
    this.memory = memory.buffer;
    this.mailbox = new Mailbox(memory.buffer);
    this.socket = channel.ours;
    this.toPython = EventFd.open();
    this.toNode = EventFd.open();
    this.segments = new Segments(channel.ours, (segment) => this.post({ t: 'drop', segment }));
    const path = process.env.PYTHONPATH;
    const env = {
      ...process.env,
      ...python.env,
      PYTHONPATH: [folder, python.env?.PYTHONPATH ?? path].filter((one) => one !== undefined && one !== '').join(':'),
      ONEPIECE_STAGE_PARENT: String(process.pid),
    };
    try {
      // In a session of its own: what ends this process group leaves the keeper to end what Python has started.
      this.process = spawn(interpreterOf(python), ['-u', '-m', 'onepiece_stage'], {
        stdio: ['ignore', 'pipe', 'pipe', channel.theirs, memory.fd, this.toPython.fd, this.toNode.fd],
        detached: true,
        env,
      });
    } finally {
      closeSync(memory.fd);
      closeSync(channel.theirs);
    }
    this.source = poller.attach(
      () => this.drain(),
      (polls) => {
        if (!this.isOver) this.mailbox.setPolls(polls);
      },
    );
    this.toNode.watch(this.source.wake);
    this.exited = new Promise((resolve) => this.follow(python, resolve));
  }

  private follow(python: PythonSpec, resolve: () => void): void {
    const { process: child } = this;
    this.read(child.stdout!, 0);
    this.read(child.stderr!, 1);
    const end = (reason: string) => {
      if (this.isOver) return;
      this.drain();
      this.isOver = true;
      this.source.leave();
      clearTimeout(this.timer);
      const rest = this.log.end();
      if (rest !== '') process.stderr.write(rest);
      this.segments.close();
      closeSync(this.socket);
      this.toPython.close();
      this.toNode.close();
      releaseSharedMemory(this.memory);
      resolve();
      this.hooks.onExit(this.verdict ?? this.failure?.message ?? reason, this.log.tail);
    };
    // 'close' comes when all that it has printed was read; a pipe that somebody else holds shall not keep us.
    child.on('exit', (code, signal) => {
      const reason = endOf(code, signal);
      const timer = setTimeout(() => end(reason), KILL_MS);
      child.on('close', () => {
        clearTimeout(timer);
        end(reason);
      });
    });
    child.on('error', (error) => {
      if (child.pid === undefined) {
        const where = python.interpreter === undefined ? 'python.interpreter of the stage' : 'its python.interpreter';
        end(
          `${interpreterOf(python)} cannot be started: ${error.message}; install Python 3.9 or later, or set ${where}`,
        );
      }
    });
  }

  private read(stream: NodeJS.ReadableStream, number: 0 | 1): void {
    const decoder = new StringDecoder('utf8');
    const add = (text: string) => {
      if (this.isOver) return;
      const lines = this.log.add(text, number, performance.now());
      if (lines !== '') process.stderr.write(lines);
    };
    stream.on('data', (chunk: Buffer) => add(decoder.write(chunk)));
    stream.on('end', () => add(decoder.end())); // half a character
    stream.on('error', () => {});
  }

  /** Of the process that runs the stage, once it has said so. */
  get pid(): number | undefined {
    return this.ownPid;
  }

  /** Bytes of what it printed that were left out. */
  get droppedBytes(): number {
    return this.log.droppedBytes;
  }

  /** Sends a record, as soon as there is room. @throws RdmaError RDMA_ERR_MESSAGE_TOO_LARGE */
  post(record: ToPython): void {
    if (this.isOver) return;
    const text = JSON.stringify(record);
    if (this.waiting.length > 0 || !this.mailbox.post(text)) this.waiting.push(text);
    else this.ring();
  }

  /** A record follows soon: Python wakes up while it is being made. */
  wake(): void {
    if (!this.isOver) this.ring();
  }

  private ring(): void {
    if (!this.mailbox.pythonPolls) this.toPython.signal();
  }

  /** Says why the task in a slot is not wanted any more; 0: it is. */
  setCancelled(slot: number, why: number): void {
    if (!this.isOver) this.mailbox.setCancelled(slot, why);
  }

  // Answers how many records there were.
  private drain(): number {
    if (this.isOver) return 0;
    let count = 0;
    try {
      for (; ; count++) {
        const text = this.mailbox.take();
        if (text === undefined) break;
        const record = readRecord(text);
        if (record.t === 'hello') this.ownPid = record.pid;
        else this.hooks.onRecord(record);
      }
    } catch (error) {
      this.failure = error as RdmaError;
      this.kill();
    }
    while (this.waiting.length > 0 && this.mailbox.post(this.waiting[0]!)) {
      this.waiting.shift();
      this.ring();
    }
    return count;
  }

  /** Whether what its tasks did may have ended it, and not only this side. */
  get isToBlame(): boolean {
    return this.verdict === undefined || this.wasStopped;
  }

  /**
   * Ends the process now, and all that it has started.
   *
   * @param verdict why, in words
   * @param wasStopped a signal has stopped it, which it may have sent itself
   */
  kill(verdict?: string, wasStopped = false): void {
    this.verdict ??= verdict;
    this.wasStopped ||= wasStopped;
    if (this.isOver) return;
    // The keeper ends the stage; one that is stopped does not.
    this.process.kill('SIGTERM');
    this.process.kill('SIGCONT');
    this.timer ??= setTimeout(() => this.killAll(), KILL_MS);
  }

  private killAll(): void {
    if (this.ownPid !== undefined && this.process.exitCode === null) endProcess(this.ownPid);
    if (this.process.pid !== undefined) endProcess(-this.process.pid);
  }

  /** Lets the process end, and ends it when it does not soon. */
  async stop(): Promise<void> {
    if (this.isOver) return;
    this.post({ t: 'stop' });
    const timer = setTimeout(() => this.kill(), STOP_MS);
    await this.exited;
    clearTimeout(timer);
  }
}

export function interpreterOf(python: PythonSpec): string {
  return python.interpreter ?? 'python3';
}

// The keeper ends with 128 and the number of the signal that has ended the stage, as shells do.
function endOf(code: number | null, signal: NodeJS.Signals | null): string {
  if (signal !== null) return `signal ${signal}`;
  const found = Object.entries(os.constants.signals).find(([, number]) => number + 128 === code);
  return found === undefined ? `exit code ${code}` : `signal ${found[0]}`;
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}
