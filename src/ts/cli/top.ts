// `onepiece top`: what a server's pipeline is doing, live in a terminal.
//
// Invariant: whatever way it ends, the terminal is as it was before. Where stdout is no terminal, or with --json, it
// prints once and ends.
import { Command } from 'commander';
import type { Snapshot } from '../observe/snapshot.js';
import { SseParser } from '../observe/sse-parser.js';
import { interruptible, UsageError } from './exit.js';
import { topScreen } from './top-screen.js';

/** Where `onepiece serve` listens by default. */
const DEFAULT_URL = 'http://127.0.0.1:8080';
const TOKEN = 'ONEPIECE_TOKEN';
const SILENT_MS = 20_000;
const AGAIN_MS = 1000;
const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';

export function topCommand(setExitCode: (code: number) => void): Command {
  return new Command('top')
    .description('show what the pipeline of a server is doing, live')
    .argument('[url]', 'of the server', DEFAULT_URL)
    .option('--json', 'print one snapshot as a JSON document, with rates, and end')
    .addHelpText(
      'after',
      `\nEnvironment: ${TOKEN} is the token of a server that wants one; NO_COLOR switches colours off.\nKeys: q ends.`,
    )
    .action(async (url: string, options: { json?: true }) => setExitCode(await top(url, options)));
}

async function top(text: string, { json }: { json?: true }): Promise<number> {
  const url = eventsUrl(text);
  const { stdout } = process;
  if (json) {
    return interruptible(async (signal) => {
      stdout.write(`${JSON.stringify(await withRates(url, signal), null, 2)}\n`);
    });
  }
  if (!stdout.isTTY) {
    return interruptible(async (signal) => {
      const snapshot = await withRates(url, signal);
      const screen = { columns: Number.POSITIVE_INFINITY, rows: Number.POSITIVE_INFINITY, color: false };
      stdout.write(`${topScreen(snapshot, screen).join('\n')}\n`);
    });
  }
  return interruptible((signal) => watch(url, signal));
}

function eventsUrl(text: string): URL {
  let url: URL;
  try {
    url = new URL(/^[a-z]+:\/\//i.test(text) ? text : `http://${text}`);
  } catch {
    throw new UsageError(`${text} is no URL: give one such as ${DEFAULT_URL}`);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new UsageError('the URL must be one of http or https');
  return new URL('v1/status/events', url.href.endsWith('/') ? url : `${url.href}/`);
}

/** The snapshots of a server until its connection ends. @throws Error in words for people */
async function* snapshots(url: URL, signal: AbortSignal): AsyncGenerator<Snapshot> {
  const silent = new AbortController();
  const any = AbortSignal.any([signal, silent.signal]);
  let timer = setTimeout(() => silent.abort(), SILENT_MS);
  const token = process.env[TOKEN];
  const headers = { accept: 'text/event-stream', ...(token ? { authorization: `Bearer ${token}` } : {}) };
  try {
    const response = await fetch(url, { headers, signal: any, redirect: 'error' });
    if (response.status === 401 || response.status === 403) {
      throw new Error(`${url.origin} wants a token: set ${TOKEN}`);
    }
    if (!response.ok || response.body === null) throw new Error(`${url.href} answered ${response.status}`);
    const parser = new SseParser();
    const decoder = new TextDecoder();
    for await (const bytes of response.body) {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENT_MS);
      for (const { event, data } of parser.push(decoder.decode(bytes as Uint8Array, { stream: true }))) {
        if (event === 'snapshot') yield readSnapshot(data);
      }
    }
  } catch (error) {
    if (signal.aborted) throw error;
    if (silent.signal.aborted) throw new Error(`${url.origin} says nothing`);
    throw new Error(wordsOf(url, error));
  } finally {
    clearTimeout(timer);
    silent.abort();
  }
}

function wordsOf(url: URL, error: unknown): string {
  const cause = (error as { cause?: { code?: string; message?: string } }).cause;
  if (cause !== undefined) return `${url.origin} cannot be reached: ${cause.code ?? cause.message}`;
  return (error as Error).message;
}

function readSnapshot(data: string): Snapshot {
  const snapshot = JSON.parse(data) as Snapshot;
  if (snapshot.schemaVersion !== 1) throw new Error('the server tells its status in another version');
  return snapshot;
}

/** One that has rates: the second. */
async function withRates(url: URL, signal: AbortSignal): Promise<Snapshot> {
  let last: Snapshot | undefined;
  for await (const snapshot of snapshots(url, signal)) {
    last = snapshot;
    if (snapshot.rateMs !== null) break;
  }
  if (last === undefined) throw new Error(`${url.origin} ended the connection`);
  return last;
}

/** Draws each snapshot until somebody wants to leave. */
async function watch(url: URL, signal: AbortSignal): Promise<void> {
  const { stdin, stdout } = process;
  const leave = new AbortController();
  const any = AbortSignal.any([signal, leave.signal]);
  let newest: Snapshot | undefined;
  let trouble: string | undefined;
  let entered = false;
  const color = process.env.NO_COLOR === undefined || process.env.NO_COLOR === '';
  const draw = () => {
    if (newest === undefined) return;
    if (!entered) stdout.write(ENTER);
    entered = true;
    const { columns = 80, rows = 24 } = stdout;
    const lines = topScreen(newest, { columns, rows, color, trouble });
    // Each line over the old one, then what is left below: nothing flickers.
    stdout.write(`\u001b[H${lines.map((line) => `${line}\u001b[K`).join('\r\n')}\u001b[J`);
  };
  const onKey = (keys: Buffer) => {
    const text = keys.toString('latin1');
    if (text.includes('\u0003'))
      process.kill(process.pid, 'SIGINT'); // raw: the terminal does not
    else if (/q/i.test(text)) leave.abort();
  };
  if (stdin.isTTY) {
    stdin.setRawMode(true);
    stdin.on('data', onKey);
    stdin.resume();
  }
  stdout.on('resize', draw);
  try {
    while (!any.aborted) {
      try {
        for await (const snapshot of snapshots(url, any)) {
          newest = snapshot;
          trouble = undefined;
          draw();
        }
        trouble = 'the server ended the connection';
      } catch (error) {
        if (any.aborted) break;
        // An address that has never answered is not a server.
        if (newest === undefined) throw error;
        trouble = (error as Error).message;
      }
      draw();
      await pause(AGAIN_MS, any);
    }
    if (signal.aborted) throw signal.reason;
  } finally {
    stdout.off('resize', draw);
    if (stdin.isTTY) {
      stdin.off('data', onKey);
      stdin.setRawMode(false);
      stdin.pause();
    }
    if (entered) stdout.write(LEAVE);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
  });
}
