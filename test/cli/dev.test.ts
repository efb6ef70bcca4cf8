// Proves that `onepiece dev` serves a workflow, follows its file, and loses no request by that; that code which does
// not load changes nothing; and that what cannot be started is named.
import { once } from 'node:events';
import { renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { asker, jsonRequest } from '../serve/support.js';
import { childrenOf, onepiece, runs, scratch, start, until } from './command.js';

const PIPELINE = join(__dirname, '../../src/ts/pipeline/index.js');
const PREPARE = 'exports.prepare = (request) => ({ ...request, meta: { ...request.meta, prepared: CODE } });';

// A module with two stages whose answers say which code made them.
function moduleText(code: number, more = ''): string {
  return `const { workflow } = require(${JSON.stringify(PIPELINE)});
const CODE = ${code};
exports.flow = workflow('flow', { module: __filename, maxRequestBytes: 4096 })
  .stage('wait', { maxOutputBytes: 4096, handler: async (task) => {
    const { meta } = task.input('request');
    await new Promise((resolve) => setTimeout(resolve, meta.ms ?? 0));
    return { meta: { ...meta, wait: CODE } };
  } })
  .stage('mark', { after: ['wait'], maxOutputBytes: 4096, handler: (task) => {
    return { meta: { ...task.input('wait').meta, mark: CODE } };
  } });
${PREPARE}
${more}`;
}

interface Said {
  event: string;
  url?: string;
  version?: number;
  reason?: string;
  isQuiet?: boolean;
}

void t.test(
  'new code takes the requests, old requests end in the old code, and bad code changes nothing',
  async (t) => {
    const folder = scratch();
    const file = join(folder, 'flow.cjs');
    writeFileSync(file, moduleText(1));
    const { child, ended } = start(['dev', file, '--port', '0', '--drain-ms', '60000', '--json'], folder);
    t.teardown(() => child.kill('SIGKILL'));
    let text = '';
    child.stdout!.on('data', (chunk) => {
      text += chunk;
    });
    const said = (): Said[] =>
      text
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line));
    const heard = (event: string, version?: number) =>
      until(
        `${event} ${version}`,
        () => said().find((each) => each.event === event && (version === undefined || each.version === version)),
        60_000,
      );
    const { url } = await heard('listening');
    const ask = asker(url!);
    const run = async (meta: object) => {
      const answer = await ask('/v1/run', jsonRequest(meta));
      return answer.status === 200 ? answer.json().outputs[0].meta : answer.status;
    };
    t.strictSame(await run({}), { prepared: 1, wait: 1, mark: 1 });
    t.match((await ask('/v1/status')).json(), { workflow: 'flow', state: 'ready' }, 'the dashboard has its data');
    t.match((await ask('/')).headers.get('content-type'), /html/);

    // Requests all the time; one is under way for as long as the reload takes.
    const long = run({ ms: 6000 });
    const answers: unknown[] = [];
    let isLoading = true;
    const load = (async () => {
      while (isLoading) answers.push(await run({}));
    })();
    const kept = await ask('/v1/jobs', jsonRequest({ ms: 50 }, {}, { 'idempotency-key': 'kept' }));
    t.equal(kept.status, 202);
    // As an editor does it.
    writeFileSync(`${file}.new`, moduleText(2));
    renameSync(`${file}.new`, file);
    await heard('reloaded', 2);
    t.strictSame(await run({}), { prepared: 2, wait: 2, mark: 2 });
    const { mark, wait } = (await long) as { mark: number; wait: number };
    t.equal(mark, wait, 'a request is done by one code');
    t.match(await heard('ended', 1), { isQuiet: true });
    const result = await ask('/v1/jobs/kept/result?waitMs=30000');
    t.equal(result.status, 200, 'a job outlives the code that took it');

    writeFileSync(file, moduleText(3, 'this is no code'));
    t.match(await heard('kept', 2), { reason: /cannot be loaded/ });
    t.strictSame(await run({}), { prepared: 2, wait: 2, mark: 2 });
    writeFileSync(
      file,
      moduleText(4, "if (require('node:cluster').isPrimary && process.send) throw new Error('not here');"),
    );
    await until('kept again', () => said().filter(({ event }) => event === 'kept').length === 2, 60_000);
    t.match(
      said().findLast(({ event }) => event === 'kept'),
      { version: 2, reason: /not here/ },
    );
    t.strictSame(await run({}), { prepared: 2, wait: 2, mark: 2 });
    writeFileSync(file, moduleText(5));
    await heard('reloaded', 3);
    t.strictSame(await run({}), { prepared: 5, wait: 5, mark: 5 });
    t.match(await heard('ended', 2), { isQuiet: true });
    isLoading = false;
    await load;
    const failed = answers.filter((meta) => {
      const { wait, mark } = Object(meta);
      return typeof wait !== 'number' || wait !== mark;
    });
    t.strictSame(failed, [], `of ${answers.length} requests`);
    const workers = childrenOf(child.pid!);
    t.equal(workers.length, 2);
    child.kill('SIGINT');
    t.equal((await ended).code, 130);
    await until('no process is left', () => !workers.some(runs), 20_000);
  },
);

void t.test('what cannot be started is named', async (t) => {
  const folder = scratch();
  const write = (name: string, text: string) => {
    const file = join(folder, name);
    writeFileSync(file, text);
    return file;
  };
  const needy = moduleText(1).replace('maxOutputBytes: 4096,', 'maxOutputBytes: 4096, resources: { gpus: 2 },');
  const inWorkers = "if (process.send) throw new Error('not here');";
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const { port } = taken.address() as { port: number };
  const fine = write('fine.cjs', moduleText(1));
  const cases: [string[], number, RegExp][] = [
    [[join(folder, 'none.cjs')], 2, /cannot be loaded/],
    [[write('empty.cjs', '')], 2, /exports no workflow/],
    [[fine, '--port', '99999'], 2, /0 to 65535/],
    [[fine, '--memory', '9999T'], 2, /memory/],
    [[fine, '--port', String(port)], 1, /cannot listen at 127\.0\.0\.1/],
    [[write('needy.cjs', needy), '--port', '0', '--gpus', '1'], 1, /stage wait needs 2 GPUs.*has is 1/],
    [[write('workers.cjs', moduleText(1, inWorkers)), '--port', '0'], 1, /ended before it was ready.*not here/],
  ];
  for (const [args, code, words] of cases) {
    const { code: found, stderr, stdout } = await onepiece(['dev', ...args], folder);
    t.equal(found, code, `${args.join(' ')}: ${stderr}`);
    t.match(stderr, words);
    t.equal(stdout, '');
  }
  t.match((await onepiece(['dev', '--help'], folder)).stdout, /onepiece dev .*reload it when its/s);
});

void t.test('a signal ends the start', async (t) => {
  const folder = scratch();
  const file = join(folder, 'slow.cjs');
  const endless = 'if (process.send) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600_000);';
  writeFileSync(file, moduleText(1, endless));
  const { child, ended } = start(['dev', file, '--port', '0'], folder);
  t.teardown(() => child.kill('SIGKILL'));
  const workers = await until(
    'its processes',
    () => {
      const pids = childrenOf(child.pid!);
      return pids.length === 2 ? pids : undefined;
    },
    60_000,
  );
  child.kill('SIGTERM');
  t.equal((await ended).code, 143);
  await until('no process is left', () => !workers.some(runs), 20_000);
});
