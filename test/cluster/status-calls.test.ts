// Proves that a status question ends with its answer or after a second, and that an answer which came while this
// process did not run counts.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import t from 'tap';
import { StatusCalls } from '../../src/ts/cluster/status-calls.js';
import type { StageInstanceStatus } from '../../src/ts/pipeline/index.js';

const answer = { tasks: 3 } as StageInstanceStatus;

void t.test('an answer, and none', async (t) => {
  const calls = new StatusCalls();
  t.equal(await calls.ask((id) => calls.answer(id, answer)), answer);
  let unanswered = 0;
  t.equal(await calls.ask((id) => (unanswered = id)), undefined);
  calls.answer(unanswered, answer);
  t.pass('one that is late harms nobody');
});

void t.test('an answer that came while this process did not run', async (t) => {
  const calls = new StatusCalls();
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.teardown(() => server.close());
  const near = connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.teardown(() => near.destroy());
  const [far] = (await once(server, 'connection')) as [Socket];
  far.on('data', (bytes) => calls.answer(Number(bytes), answer));
  await once(near, 'ready');
  const asked = calls.ask((id) => near.write(String(id)));
  const endMs = performance.now() + 1300;
  while (performance.now() < endMs);
  t.equal(await asked, answer);
});
