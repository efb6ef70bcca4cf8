// Proves that the store of the examples is a store of jobs, and that a job outlives the process that has accepted it.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import { type JobBackend, JobStore } from '../../src/ts/jobs/index.js';
import { conformance } from '../jobs/conformance.js';
import { exampleFile, runExample } from './run.js';

interface Module {
  readonly FolderBackend: { open(folder: string): Promise<JobBackend> };
}

function scratch(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'onepiece-example-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function open(folder: string): Promise<JobBackend> {
  const url = pathToFileURL(exampleFile('store/folder-backend.mts')).href;
  const { FolderBackend } = (await import(url)) as Module;
  return await FolderBackend.open(folder);
}

conformance(t, {
  open: async (t, options = {}, port) => {
    const store = new JobStore(await open(scratch(t)), options, 2 ** 30, port);
    t.teardown(() => store.close());
    return store;
  },
  again: undefined,
});

void t.test('what a crash has left is swept, and half of a record is no record', async (t) => {
  const folder = scratch(t);
  const backend = await open(folder);
  const entry = { id: 'a', tenant: 'x', priority: 0, state: 'queued', submittedAtMs: 1, attempts: 0 } as const;
  const named = { ...entry, owner: 'me', term: 1, requestBytes: 1, request: { name: 'kept', bytes: 1 } };
  const put = { name: 'kept', bytes: Uint8Array.of(1) };
  t.equal(await backend.write({ id: 'a', expected: 0, next: named, put }), 'done');
  await backend.close();
  writeFileSync(join(folder, 'values', 'orphan'), 'x');
  writeFileSync(join(folder, 'jobs', 'b.json.part'), '{"entry":{');

  const again = await open(folder);
  t.equal(await again.sweep(), 1);
  t.strictSame(readdirSync(join(folder, 'values')), ['kept']);
  t.strictSame(await again.read('a'), { entry: named, revision: 1 });
  t.strictSame(await again.usage(), { jobs: 1, bytes: 1 });
  await again.close();
});

void t.test('a job is done by the process after the one that has accepted it', async (t) => {
  const folder = scratch(t);
  const submit = (value: string) => runExample('store/jobs.mts', [folder, 'submit', value]);
  t.strictSame(await submit('12'), { code: 0, out: 'stored square-12\n', err: '' });
  const { code, out, err } = await runExample('store/jobs.mts', [folder, 'work']);
  t.strictSame({ code, out, err }, { code: 0, out: 'square-12: 144\n', err: '' });
  t.strictSame(
    (await runExample('store/jobs.mts', [folder, 'work'])).out,
    'square-12: 144\n',
    'a result is there until it expires',
  );
});
