// Proves that the service of the examples blurs, refuses what it must, and ends without losing what is under way.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { exampleFile } from './run.js';

interface Service {
  readonly child: ChildProcessByStdio<null, Readable, null>;
  readonly ended: Promise<unknown[]>;
  readonly url: string;
}

async function start(t: Test): Promise<Service> {
  const child = spawn(process.execPath, [exampleFile('service/service.mts'), '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  const [line] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string];
  const [, port] = /^listening on (\d+)\n$/.exec(line)!;
  return { child, ended, url: `http://127.0.0.1:${port}` };
}

function picture(rows: number, columns: number, pixel: (row: number, column: number) => number): Buffer {
  const pixels = Uint8Array.from({ length: rows * columns }, (_, i) => pixel(Math.floor(i / columns), i % columns));
  return Buffer.concat([Buffer.from(`P5\n${columns} ${rows}\n255\n`), pixels]);
}

const post = (url: string, radius: number | string, body: Buffer, signal?: AbortSignal) =>
  fetch(`${url}/blur?radius=${radius}`, {
    method: 'POST',
    body: new Uint8Array(body),
    ...(signal === undefined ? {} : { signal }),
  });

void t.test('a picture is blurred by both instances, and a request that makes no sense is refused', async (t) => {
  const { url } = await start(t);
  const dot = picture(5, 4, (row, column) => (row === 2 && column === 1 ? 90 : 0));
  const blurred = picture(5, 4, (row, column) => {
    if (row < 1 || row > 3 || column > 2) return 0;
    return column === 0 ? 15 : 10; // 6 pixels count at an edge, 9 elsewhere
  });
  const answer = await post(url, 1, dot);
  t.equal(answer.status, 200);
  t.equal(answer.headers.get('content-type'), 'image/x-portable-graymap');
  t.strictSame(Buffer.from(await answer.arrayBuffer()), blurred);

  t.equal((await post(url, 11, dot)).status, 400);
  t.equal((await post(url, 'x', dot)).status, 400);
  t.equal((await post(url, 1, dot.subarray(0, -1))).status, 400);
  t.equal((await post(url, 1, Buffer.from('P2\n'))).status, 400);
  t.equal((await fetch(`${url}/blur`)).status, 404);
  t.strictSame(await (await fetch(`${url}/health`)).json(), { inFlight: 0, queued: 0 });
});

void t.test(
  'a request that finds no room learns when to come again, and a client that goes away leaves nothing',
  async (t) => {
    const { url } = await start(t);
    const slow = picture(800, 800, () => 7);
    const gone = new AbortController();
    const statuses = new Map<number, number>();
    const requests = Array.from({ length: 64 }, async () => {
      const answer = await post(url, 10, slow, gone.signal);
      if (answer.status !== 503) return;
      t.ok(Number(answer.headers.get('retry-after')) >= 1);
      statuses.set(503, (statuses.get(503) ?? 0) + 1);
      gone.abort();
    });
    await Promise.allSettled(requests);
    t.ok((statuses.get(503) ?? 0) > 0, 'some were refused');
    for (let i = 0; i < 500; i++) {
      const { inFlight, queued } = (await (await fetch(`${url}/health`)).json()) as Record<string, number>;
      if (inFlight === 0 && queued === 0) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    t.fail('work goes on that nobody wants');
  },
);

void t.test('SIGTERM lets the request under way end', async (t) => {
  const { child, ended, url } = await start(t);
  const answer = post(
    url,
    10,
    picture(600, 600, () => 7),
  );
  for (;;) {
    const { inFlight } = (await (await fetch(`${url}/health`)).json()) as Record<string, number>;
    if (inFlight === 1) break;
  }
  child.kill('SIGTERM');
  const { status, body } = await answer;
  t.equal(status, 200);
  await body?.cancel();
  t.strictSame(await ended, [0, null]);
});
