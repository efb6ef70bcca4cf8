// Runs inside a guest: starts, signals and watches processes for whoever booted the guest.
// Invariant: one JSON document a line, both ways, and nothing else on stdout. It ends with its guest.
//
// In:  { "do": "start", "id", "argv" }   { "do": "signal", "id", "signal" }
// Out: { "at": "up" }   { "at": "line", "id", "stream", "text" }   { "at": "exit", "id", "code", "signal", "error"? }

import { spawn } from 'node:child_process';
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

const requests = createInterface({ input: process.stdin });
requests.on('line', (line) => {
  const request = JSON.parse(line);
  if (request.do === 'start') start(request);
  else running.get(request.id)?.kill(request.signal);
});
say({ at: 'up' });
