// Proves that HTTP clients read a result piece by piece while it is made: in order, from the first again when a stage
// begins again, from the stored result when they come late; that a slow reader delays nobody; and that clients learn
// of every end.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { scratch } from '../cli/command.js';
import { lmdbStore } from '../../src/ts/jobs/index.js';
import { decodeMultipart } from '../../src/ts/serve/multipart.js';
import { mixedParts, type Told, told } from './mixed-reader.js';
import { pieced } from './pieced.js';
import { bare, eventsOf, jsonRequest, LIMIT_MS, serving, until } from './support.js';

const PIECED = { workflow: pieced, prepare: undefined, hasDemoPage: false };
const MIXED = { accept: 'multipart/mixed' };
let gates = 0;
const newGate = () => join(scratch(), `gate-${++gates}`);
const open = (gate: string) => writeFileSync(gate, '');

const read = (url: string, init: RequestInit = {}) => fetch(url, { signal: AbortSignal.timeout(LIMIT_MS), ...init });
async function all(response: Response): Promise<Told[]> {
  const list: Told[] = [];
  for await (const one of told(response)) list.push(one);
  return list;
}
const types = (list: readonly Told[]) => list.map(({ event }) => (event.type === 'piece' ? event.number : event.type));

void t.test('pieces', async (t) => {
  const { ask, url, pipeline } = await serving(t, {}, {}, PIECED);
  const submit = async (meta: object) => (await ask('/v1/jobs', jsonRequest(meta))).json() as { id: string };

  await t.test('come while the job runs, and the result behind them', async (t) => {
    const gate = newGate();
    const { id } = await submit({ count: 4, waitAt: 2, gate });
    const response = await read(`${url}/v1/jobs/${id}/pieces`);
    t.equal(response.status, 200);
    const parts = told(response);
    for (const i of [0, 1]) {
      const { event, tensors } = (await parts.next()).value!;
      const content = `make/0.${i}/frame`;
      const frame = { dtype: 'u8', shape: [3], bytes: 3, content };
      t.match(event, { type: 'piece', stage: 'make', instance: 0, number: i, meta: { i }, parts: { frame } });
      t.strictSame([...tensors[content]!], [i, i, i]);
    }
    t.equal((await ask(`/v1/jobs/${id}`)).json().state, 'running', 'it has not ended');
    open(gate);
    const rest: Told[] = [];
    for await (const one of parts) rest.push(one);
    t.strictSame(types(rest), [2, 3, 'done']);
    t.match(rest[2]!.event, { job: id, outputs: [{ stage: 'make', instance: 0, meta: { count: 4 } }] });
    t.strictSame([...rest[2]!.tensors['make/0/sum']!], [4, 0, 0, 0]);
    const again = await all(await read(`${url}/v1/jobs/${id}/pieces`));
    t.strictSame(types(again), [0, 1, 2, 3, 'done'], 'who comes late gets all of it');
    t.strictSame([...again[3]!.tensors['make/0.3/frame']!], [3, 3, 3]);
  });

  await t.test('a part has the media type that its stage says', async (t) => {
    const { id } = await submit({ count: 1 });
    const seen: string[] = [];
    for await (const { type } of mixedParts(await read(`${url}/v1/jobs/${id}/pieces`))) seen.push(type);
    t.strictSame(seen, ['application/json', 'image/webp', 'application/json', 'application/octet-stream']);
  });

  await t.test('a run answers them too, when that is accepted', async (t) => {
    const response = await read(`${url}/v1/run`, jsonRequest({ count: 3 }, {}, MIXED));
    const list = await all(response);
    t.strictSame(types(list), [0, 1, 2, 'done']);
    t.equal(response.headers.get('location'), `/v1/jobs/${list[3]!.event.job}`);
    t.match((await ask('/v1/run', jsonRequest({ count: 1 }))).json(), { outputs: [{ meta: { count: 1 } }] });
  });

  await t.test('when the stage begins again, they come from the first again', async (t) => {
    const gate = newGate();
    const { id } = await submit({ count: 4, waitAt: 2, gate });
    const parts = told(await read(`${url}/v1/jobs/${id}/pieces`));
    const list = [(await parts.next()).value!, (await parts.next()).value!];
    process.kill(pipeline.processes[0]!.pid, 'SIGKILL');
    list.push((await parts.next()).value!);
    open(gate);
    for await (const one of parts) list.push(one);
    t.strictSame(types(list), [0, 1, 'restarted', 0, 1, 2, 3, 'done']);
    t.match(list[2]!.event, { type: 'restarted', stage: 'make', instance: 0 });
  });

  await t.test('events tell of them, without their tensors', async (t) => {
    const { id } = await submit({ count: 2 });
    const seen: unknown[] = [];
    for await (const { event, data } of eventsOf(await read(`${url}/v1/jobs/${id}/events`))) {
      if (event === 'piece') seen.push([data.stage, data.instance, data.piece, data.parts]);
    }
    t.strictSame(seen, [
      ['make', 0, 0, { frame: 3 }],
      ['make', 0, 1, { frame: 3 }],
    ]);
  });

  await t.test('every form of the result has them', async (t) => {
    const { id } = await submit({ count: 2 });
    const json = (await ask(`/v1/jobs/${id}/result?waitMs=30000`)).json();
    t.match(json.outputs[0].pieces, [
      { number: 0, parts: { frame: { data: 'AAAA' } } },
      { number: 1, parts: { frame: { data: 'AQEB' } } },
    ]);
    const form = await ask(`/v1/jobs/${id}/result`, { headers: { accept: 'multipart/form-data' } });
    const files = decodeMultipart(form.body, form.headers.get('content-type')!);
    t.strictSame(
      files.map(({ name }) => name),
      ['result', 'make/0/sum', 'make/0.0/frame', 'make/0.1/frame'],
    );
    const about = JSON.parse(Buffer.from(files[0]!.content).toString());
    t.match(about.outputs[0].pieces[1], { number: 1, parts: { frame: { content: 'make/0.1/frame' } } });
    t.notMatch(Buffer.from(files[0]!.content).toString(), /"data"/);
    const file = await ask(`/v1/jobs/${id}/result`, { headers: { accept: 'application/x-safetensors' } });
    t.match(file.body.toString('latin1'), /make\/0\.1\/frame/);
  });

  await t.test('a job that fails says so behind its pieces, and later at once', async (t) => {
    const list = await all(await read(`${url}/v1/run`, jsonRequest({ count: 3, throwAt: 2 }, {}, MIXED)));
    t.equal(list.at(-1)!.event.type, 'problem');
    t.match(list.at(-1)!.event.problem, { code: 'RDMA_ERR_STAGE_FAILED', status: 500, stage: 'make' });
    const { id } = await submit({ count: 1, throwAt: 0 });
    await until('its end', async () => (await ask(`/v1/jobs/${id}`)).json().state === 'failed');
    t.equal((await ask(`/v1/jobs/${id}/pieces`)).problem().code, 'RDMA_ERR_STAGE_FAILED');
    t.equal((await ask('/v1/jobs/none/pieces')).status, 404);
    t.equal((await ask(`/v1/jobs/${id}/pieces`, { headers: { accept: 'text/html' } })).status, 406);
    const running = await submit({ count: 1, waitAt: 0, gate: newGate() });
    const cancelled = all(await read(`${url}/v1/jobs/${running.id}/pieces`));
    await ask(`/v1/jobs/${running.id}`, { method: 'DELETE' });
    t.match((await cancelled).at(-1)!.event.problem, { code: 'RDMA_ERR_CANCELLED' });
  });

  await t.test('a run whose client goes away is cancelled', async (t) => {
    const client = new AbortController();
    const request = jsonRequest({ count: 3, waitAt: 2, gate: newGate() }, {}, { ...MIXED, 'idempotency-key': 'left' });
    const parts = told(await fetch(`${url}/v1/run`, { ...request, signal: client.signal }));
    await parts.next();
    client.abort();
    t.ok(await until('the cancel', async () => (await ask('/v1/jobs/left')).json().state === 'cancelled'));
  });

  await t.test('a reader that takes nothing delays nobody, and gets all of it later', async (t) => {
    const bytes = 2 ** 20;
    const { id } = await submit({ count: 24, bytes });
    const slow = await read(`${url}/v1/jobs/${id}/pieces`);
    await until('its end', async () => (await ask(`/v1/jobs/${id}`)).json().state === 'done');
    let number = 0;
    for await (const { event, tensors } of told(slow)) {
      if (event.type !== 'piece') continue;
      t.equal(event.number, number);
      const frame = tensors[`make/0.${number}/frame`]!;
      t.ok(frame.length === bytes && frame.every((byte) => byte === number), `${number}`);
      number++;
    }
    t.equal(number, 24);
  });
});

void t.test('what has bounds', async (t) => {
  const { ask, url } = await serving(t, { maxStreams: 1, idleTimeoutMs: 300, maxRunMs: 400 }, {}, PIECED);
  const submit = async (meta: object) => (await ask('/v1/jobs', jsonRequest(meta))).json() as { id: string };

  await t.test('a reader that takes nothing is cut, and one that waits is not', async (t) => {
    const { id } = await submit({ count: 24, bytes: 2 ** 20 });
    const { socket, answer } = await bare(url);
    socket.write(`GET /v1/jobs/${id}/pieces HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    await new Promise((resolve) => socket.once('data', resolve));
    socket.pause();
    // Whoever may read next finds the first reader gone.
    const parts = await until('the place', async () => {
      const response = await read(`${url}/v1/jobs/${id}/pieces`);
      if (response.status === 200) return all(response);
      t.match(await response.json(), { code: 'RDMA_ERR_BUSY' });
      return undefined;
    });
    t.equal(parts.length, 25);
    socket.resume();
    t.notMatch((await answer).slice(-200), /--onepiece-\w+--\r\n/, 'it has no last boundary');
  });

  await t.test('a run that takes too long says that the job goes on', async (t) => {
    const gate = newGate();
    const list = await all(await read(`${url}/v1/run`, jsonRequest({ count: 3, waitAt: 1, gate }, {}, MIXED)));
    t.strictSame(types(list), [0, 'problem']);
    t.match(list[1]!.event.problem, { code: 'RDMA_ERR_TIMEOUT', status: 504 });
    open(gate);
    const { id } = (await ask('/v1/jobs?limit=1')).json().jobs[0];
    t.equal((await ask(`/v1/jobs/${id}/result?waitMs=30000`)).status, 200);
  });
});

void t.test('a pipeline with a store on disk streams too, and its stored results have their pieces', async (t) => {
  const store = await lmdbStore(join(scratch(), 'store'));
  const { ask, pipeline, close } = await serving(t, {}, { store }, PIECED);
  const stream = pipeline.stream({ meta: { count: 3 } });
  const seen: unknown[] = [];
  for await (const event of stream) seen.push(event.type === 'piece' ? event.number : event.type);
  t.strictSame(seen, [0, 1, 2]);
  t.equal((await stream.result).outputs[0]!.pieces?.length, 3);
  const [{ id }] = (await ask('/v1/jobs')).json().jobs;
  t.equal((await ask(`/v1/jobs/${id}/result`)).json().outputs[0].pieces.length, 3);
  const failing = pipeline.run(
    { meta: { count: 3 } },
    {
      onPiece: () => {
        throw new Error('no more');
      },
    },
  );
  await t.rejects(failing, { code: 'RDMA_ERR_HANDLER', message: /no more/ });
  await close();
  await store.close();
});
