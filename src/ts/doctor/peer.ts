// Whether soft0 joins two processes here, by joining two.
//
// Invariant: the attempt does what inboxes and outboxes do: a second process connects to this one over TCP, each
// reaches into the other's memory, and a message is acknowledged. Nothing is left of it, whatever happens.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { withDeadline } from '../core/deadline.js';
import { isRdmaError } from '../core/errors.js';
import { Inbox, type InboxAddress } from '../ring/index.js';

/** What the other process reads from stdin. */
export interface PeerTask {
  to: InboxAddress;
  secret: string;
  device: string;
  message: string;
  timeoutMs: number;
}

const LIMIT_MS = 10_000;
const MESSAGE = 'onepiece doctor';

/**
 * Tries it; takes 0.1 s.
 *
 * @returns why it does not work, in words; null when it does
 */
export async function joinPeer(device = 'soft0'): Promise<string | null> {
  const secret = randomBytes(16).toString('hex');
  const received: string[] = [];
  let inbox: Inbox;
  try {
    inbox = await Inbox.listen({
      secret,
      device,
      onMessage: (message) => {
        received.push(Buffer.from(message.bytes).toString());
        message.done();
      },
    });
  } catch (error) {
    return `no inbox can be opened: ${(error as Error).message}`;
  }
  try {
    const problem = await runPeer({ to: inbox.bootstrap, secret, device, message: MESSAGE, timeoutMs: LIMIT_MS / 2 });
    if (problem !== null) return problem;
    return received[0] === MESSAGE ? null : 'the message of another process did not arrive as it was sent';
  } finally {
    await inbox.close();
  }
}

async function runPeer(task: PeerTask): Promise<string | null> {
  // In its own words of this process, but for what must not reach it.
  const { NODE_OPTIONS: _, ...env } = process.env;
  const child = spawn(process.execPath, [join(__dirname, 'peer-main.js')], { stdio: ['pipe', 'pipe', 'pipe'], env });
  const ended = new Promise<string | null>((resolve) => {
    child.on('error', (error) => resolve(`another process could not be started: ${error.message}`));
    if (child.pid === undefined) return; // it has no streams then
    child.stdin.on('error', () => {}); // it has ended, which is said below
    child.stdin.end(JSON.stringify(task));
    const output = Promise.all([text(child.stdout), text(child.stderr)]).catch(() => ['', '']);
    child.on('close', (code, signal) => {
      if (code === 0) resolve(null);
      else void output.then(([out = '', err = '']) => resolve(problemOf(out) ?? crashOf(code, signal, err)));
    });
  });
  try {
    return await withDeadline(ended, { timeoutMs: LIMIT_MS, late: 'late' }, () => child.kill('SIGKILL'));
  } catch (error) {
    if (!isRdmaError(error)) throw error;
    return `another process could not be joined within ${LIMIT_MS} ms`;
  }
}

function problemOf(out: string): string | undefined {
  try {
    return (JSON.parse(out) as { problem?: string }).problem;
  } catch {
    return undefined;
  }
}

function crashOf(code: number | null, signal: string | null, err: string): string {
  const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
  const line = /^\w*Error: .*$/m.exec(err)?.[0] ?? err.trim().split('\n')[0] ?? '';
  return `another process ended early (${how})${line === '' ? '' : `: ${line}`}`;
}
