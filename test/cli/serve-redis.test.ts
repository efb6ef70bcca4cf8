// Proves that servers on one Redis are one service: what one has accepted the other shows, and finishes when the first
// is killed.
import t from 'tap';
import { NO_REDIS, RedisServer } from '../jobs/redis-server.js';
import { jsonRequest, until } from '../serve/support.js';
import { served } from './served.js';

void t.test('a server that is killed', { skip: NO_REDIS ?? false }, async (t) => {
  const redis = await RedisServer.start();
  t.teardown(() => redis.stop());
  const one = () => served(t, ['--lease-ms', '1500'], ['--redis', redis.url]);
  const [first, second] = await Promise.all([one(), one()]);
  const ids = ['a', 'b', 'c'];
  for (const id of ids) {
    const request = jsonRequest({ act: 'wait', ms: 3000, id }, {}, { 'idempotency-key': id });
    t.equal((await first.ask('/v1/jobs', request)).status, 202);
  }
  await until('the first one works', async () => (await second.ask('/v1/jobs/a')).json().state === 'running');
  const repeated = jsonRequest({ act: 'wait', ms: 3000, id: 'a' }, {}, { 'idempotency-key': 'a' });
  t.equal((await second.ask('/v1/jobs', repeated)).status, 200, 'the same key is the same job at both');
  const other = jsonRequest({ id: 'x' }, {}, { 'idempotency-key': 'a' });
  t.equal((await second.ask('/v1/jobs', other)).status, 422);
  first.child.kill('SIGKILL');
  await first.ended;
  for (const id of ids) {
    const result = await until(`the result of ${id}`, async () => {
      const answer = await second.ask(`/v1/jobs/${id}/result?waitMs=30000`);
      return answer.status === 200 ? answer : undefined;
    });
    t.match(result.json(), { outputs: [{ meta: { id } }] });
    t.match((await second.ask(`/v1/jobs/${id}`)).json(), { state: 'done' });
  }
  const { jobs } = (await second.ask('/v1/jobs')).json() as { jobs: { attempts: number }[] };
  t.equal(jobs.length, 3);
  t.ok(
    jobs.some(({ attempts }) => attempts === 2),
    'what the first one had begun was begun again',
  );
  second.child.kill('SIGTERM');
  t.equal((await second.ended).code, 143);
});
