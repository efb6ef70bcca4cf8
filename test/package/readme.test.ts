// Proves: the examples in the README run as they are printed, and say what their comments say.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/ts/addon/native.js';

const root = packageRoot();
// Below the package, so that its name resolves to the build in lib/.
const folder = join(root, 'build-test', `readme-${process.pid}`);
mkdirSync(folder, { recursive: true });
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const blocks = new Map<string, string>();
for (const [, name, code] of readFileSync(join(root, 'README.md'), 'utf8').matchAll(
  /```js\n\/\/ (\S+)\n([\s\S]*?)```/g,
)) {
  blocks.set(name!, code!);
}

function write(name: string, change: (code: string) => string = (code) => code): string {
  const code = blocks.get(name);
  if (code === undefined) throw new Error(`the README has no example ${name}`);
  const file = join(folder, name);
  writeFileSync(file, change(code));
  return file;
}

function run(file: string): { child: ChildProcess; ended: Promise<{ code: number | null; out: string }> } {
  const child = spawn(process.execPath, [file], {
    env: { ...process.env, SECRET: 'of the readme test' },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
  });
  let out = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text) => {
      out += text;
    });
  }
  return { child, ended: new Promise((resolve) => child.on('close', (code) => resolve({ code, out }))) };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

void t.test('the verbs example writes hello', async (t) => {
  t.strictSame(await run(write('verbs.cjs')).ended, { code: 0, out: '0 hello\n' });
});

void t.test('consumer and producer exchange two messages', async (t) => {
  const port = await freePort();
  const onPort = (code: string) => code.replace('7471', String(port));
  const consumer = run(write('consumer.mjs', onPort));
  const producer = run(write('producer.mjs', onPort));
  t.strictSame(await producer.ended, { code: 0, out: '' });
  t.strictSame(await consumer.ended, { code: 0, out: 'camera: hello\ncamera: two parts\n' });
});

void t.test('the pipeline example judges the picture', async (t) => {
  t.strictSame(await run(write('brightness.mjs')).ended, { code: 0, out: 'bright\n' });
});
