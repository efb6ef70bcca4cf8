// Proves: `onepiece top` prints once where nobody looks, and as JSON; in a terminal it redraws with each snapshot
// and each change of size, ends by q and by Ctrl-C, and leaves the terminal as it was; a server that is not there is
// one line.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import Fastify from 'fastify';
import t from 'tap';
import { Observer, observePlugin } from '../../src/ts/observe/index.js';
import type { Snapshot } from '../../src/ts/observe/snapshot.js';
import { topScreen } from '../../src/ts/cli/top-screen.js';
import { RdmaError } from '../../src/ts/pipeline/index.js';
import { brokenPlace, type Scene, ScenePipeline } from '../observe/support.js';
import { MAIN, onepiece, scratch, until } from './command.js';

const folder = scratch();
const BROKEN: Scene = {
  places: { 'decode/0': { tasks: 5, computeUs: [2000], running: 2 } },
  conditions: { 'decode/1': brokenPlace('no such\u001b[31m model\nat all') },
  queue: { requests: 4, oldestMs: 1200 },
};

async function serve(t: { teardown: (work: () => Promise<void>) => void }, scene: Scene, token?: string) {
  const pipeline = new ScenePipeline(() => scene);
  const observer = Observer.attach(pipeline, { intervalMs: 250 });
  const error = new RdmaError('RDMA_ERR_REJECTED', 'it would be late', { stage: 'decode' });
  await pipeline.run({}, () => Promise.reject(error)).catch(() => {});
  const app = Fastify({ forceCloseConnections: true });
  app.addHook('onRequest', async (request, reply) => {
    if (token !== undefined && request.headers.authorization !== `Bearer ${token}`) return reply.code(401).send({});
  });
  await app.register(observePlugin(observer));
  await app.listen({ port: 0, host: '127.0.0.1' });
  t.teardown(async () => {
    observer.close();
    await app.close();
  });
  const { port } = app.server.address() as { port: number };
  return { url: `http://127.0.0.1:${port}`, app, observer };
}

void t.test('where stdout is no terminal it prints one plain table', async (t) => {
  const { url } = await serve(t, BROKEN);
  const { code, stdout, stderr } = await onepiece(['top', url], folder);
  t.equal(code, 0, stderr);
  t.match(stdout, /^image-to-video {2}degraded {2}soft0/);
  t.match(stdout, /decode +2\/3 ready .*2\.\d\d ms/);
  t.match(stdout, / {2}decode\/1 +broken +.*\n {4}.*no such \[31m model at all\n/);
  t.match(stdout, /queued 4, oldest 1\.20 s/);
  t.match(stdout, /rejected +decode .*it would be late/);
  t.notOk(stdout.includes('\u001b'), 'nothing moves the cursor');
});

void t.test('--json is one document, with rates', async (t) => {
  const { url } = await serve(t, BROKEN);
  const { code, stdout } = await onepiece(['top', url, '--json'], folder);
  t.equal(code, 0);
  const snapshot = JSON.parse(stdout) as Snapshot;
  t.match(snapshot, { schemaVersion: 1, state: 'degraded' });
  t.ok(snapshot.rateMs! > 0);
});

void t.test('what cannot be is one line', async (t) => {
  const { url } = await serve(t, {}, 'secret');
  const silent = createServer((socket) => void socket.end('no HTTP\r\n\r\n'));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  t.teardown(() => silent.close());
  const { port } = silent.address() as { port: number };
  const cases: [string, number, RegExp][] = [
    ['http://127.0.0.1:1', 1, /^onepiece: http:\/\/127\.0\.0\.1:1 cannot be reached: .*\n$/],
    [url, 1, /^onepiece: .* wants a token: set ONEPIECE_TOKEN\n$/],
    [`${url}/nowhere`, 1, /^onepiece: .*(401|wants a token).*\n$/],
    [`http://127.0.0.1:${port}`, 1, /^onepiece: .* cannot be reached: .*\n$/],
    ['ftp://x', 2, /http or https/],
    ['http://', 2, /is no URL/],
  ];
  for (const [where, expected, words] of cases) {
    const { code, stdout, stderr } = await onepiece(['top', where], folder);
    t.equal(code, expected, where);
    t.match(stderr, words);
    t.equal(stdout, '');
  }
});

/** Runs it in a terminal of its own, script(1). */
function inTerminal(url: string, environment: Record<string, string> = {}, before = '') {
  const command = `stty cols 90 rows 20; ${before} '${process.execPath}' '${MAIN}' top '${url}'; echo "ended with $?"; stty -a`;
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    cwd: folder,
    env: { ...process.env, SHELL: '/bin/sh', ...environment },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (more) => {
    text += more;
  });
  const ended = new Promise<void>((resolve) => {
    child.on('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
  return { child, ended, text: () => text.replaceAll('\u001b', '␛') };
}

void t.test('in a terminal it draws again and again, until q', async (t) => {
  const { url, app, observer } = await serve(t, BROKEN);
  const { child, ended, text } = inTerminal(url);
  const frames = () => text().split('␛[H').length - 1;
  await until('three frames', () => frames() >= 3, 30_000);
  const first = text().split('␛[H')[1]!.split('\r\n');
  t.ok(first.length <= 20, `${first.length} lines`);
  t.match(text(), /␛\[\?1049h/);
  t.match(text(), /␛\[31m {0,2}decode/, 'trouble is red');
  t.match(text(), /more lines/);
  // The server goes, and the screen says so.
  observer.close();
  await app.close();
  await until('the loss', () => text().includes('not connected: '), 30_000);
  child.stdin.write('q');
  await ended;
  t.match(text(), /␛\[\?1049l.*ended with 0/s);
  t.match(text(), / icanon/, 'the terminal reads lines again');
});

void t.test('Ctrl-C ends it as a signal, and NO_COLOR has no colour', async (t) => {
  const { url } = await serve(t, BROKEN);
  const { child, ended, text } = inTerminal(url, { NO_COLOR: '1' });
  await until('a frame', () => text().includes('image-to-video'), 30_000);
  child.stdin.write('\u0003');
  await ended;
  t.match(text(), /␛\[\?1049l.*ended with 130/s);
  t.notMatch(text(), /␛\[3\dm/);
});

void t.test('it follows the size of the terminal', async (t) => {
  const { url } = await serve(t, BROKEN);
  const { child, ended, text } = inTerminal(url, {}, '(sleep 2; stty cols 40 rows 8 < /dev/tty) &');
  const small = (frame: string) => {
    const lines = frame.replace(/␛\[[0-9;?]*[A-Za-z]|\r/g, '').split('\n');
    return lines.length === 8 && lines.every((line) => line.length <= 40);
  };
  // The last one may not be whole.
  await until('a small frame', () => text().split('␛[H').slice(1, -1).some(small), 30_000);
  t.notOk(small(text().split('␛[H')[1]!), 'it was large before');
  child.stdin.write('q');
  await ended;
});

void t.test('no line is wider than the terminal, and none too many', async (t) => {
  const { observer } = await serve(t, BROKEN);
  const snapshot = await observer.snapshot();
  for (const columns of [1, 20, 79, 200]) {
    for (const rows of [1, 5, 100]) {
      const lines = topScreen(snapshot, { columns, rows, color: false });
      t.ok(lines.length <= rows);
      t.ok(lines.every((line) => line.length <= columns));
    }
  }
  t.match(
    topScreen(snapshot, { columns: 99, rows: 99, color: true, trouble: 'gone' }).join('\n'),
    /not connected: gone/,
  );
});
