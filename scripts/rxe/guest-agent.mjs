// Runs inside a guest: starts, signals and watches processes for whoever booted the guest.
// Invariant: one JSON document a line, both ways, and nothing else on stdout; it ends when told so, and the guest's init
// ends what it has started.
//
// In:  { "do": "start", "id", "argv", "env"? }   { "do": "signal", "id", "signal" }   { "do": "end" }
// Out: { "at": "up" }   { "at": "line", "id", "stream", "text" }   { "at": "exit", "id", "code", "signal", "error"? }

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const running = new Map();
const say = (document) => process.stdout.write(`${JSON.stringify(document)}\n`);

function start({ id, argv, env }) {
  const child = spawn(argv[0], argv.slice(1), {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.set(id, child);
  for (const stream of ['stdout', 'stderr']) {
    createInterface({ input: child[stream] }).on('line', (text) => say({ at: 'line', id, stream, text }));
  }
  let error;
  child.once('error', ({ message }) => {
    error = message;
    if (child.pid === undefined) ended(null, null);
  });
  const ended = (code, signal) => {
    running.delete(id);
    say({ at: 'exit', id, code, signal, error });
  };
  // `exit`, because what a killed process has started may hold its outputs open.
  child.once('exit', ended);
}

const requests = createInterface({ input: process.stdin });
requests.on('line', (line) => {
  const request = JSON.parse(line);
  if (request.do === 'start') start(request);
  else if (request.do === 'signal') running.get(request.id)?.kill(request.signal);
  else process.exit(0);
});
say({ at: 'up' });
