// Runs inside a guest: starts, signals and watches processes for whoever booted the guest.
// Invariant: one JSON document a line, both ways, and nothing else on stdout. It ends with its guest.
//
// In:  { "do": "start", "id", "argv" }   { "do": "signal", "id", "signal" }   { "do": "kill", "id" }
// Out: { "at": "up" }   { "at": "line", "id", "stream", "text" }   { "at": "exit", "id", "code", "signal", "error"? }

import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const running = new Map();
const say = (document) => process.stdout.write(`${JSON.stringify(document)}\n`);

function start({ id, argv }) {
  const child = spawn(argv[0], argv.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
  running.set(id, child);
  for (const stream of ['stdout', 'stderr']) {
    createInterface({ input: child[stream] }).on('line', (text) => say({ at: 'line', id, stream, text }));
  }
  let failure;
  child.once('error', ({ message }) => {
    failure = message;
  });
  // Not `exit`: what it has printed comes first.
  child.once('close', (code, signal) => {
    running.delete(id);
    say({ at: 'exit', id, code, signal, error: failure });
  });
}

/** Kills a process and all that it has started, wherever they have put themselves; none of them does another step. */
function kill({ id }) {
  const root = running.get(id)?.pid;
  if (root === undefined) return;
  // Whoever is stopped starts nothing more, so the search ends.
  const found = new Set();
  for (let next = [root]; next.length > 0; next = childrenOf(found)) {
    for (const pid of next) {
      found.add(pid);
      send(pid, 'SIGSTOP');
    }
  }
  for (const pid of found) send(pid, 'SIGKILL');
}

/** The children of these processes that are not among them. */
function childrenOf(parents) {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => !parents.has(pid) && parents.has(parentOf(pid)));
}

function parentOf(pid) {
  try {
    return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    return undefined; // it has ended
  }
}

function send(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended.
  }
}

const requests = createInterface({ input: process.stdin });
requests.on('line', (line) => {
  const request = JSON.parse(line);
  if (request.do === 'start') start(request);
  else if (request.do === 'kill') kill(request);
  else running.get(request.id)?.kill(request.signal);
});
say({ at: 'up' });
