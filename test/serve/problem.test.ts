// Proves what a failure says to a client: its code and when to come back, and nothing of a defect.
import t from 'tap';
import { ErrorCodes, RdmaError } from '../../src/ts/core/errors.js';
import { httpError, problemOf, STATUS_TITLES } from '../../src/ts/serve/problem.js';

void t.test('a rejection says when to come back, rounded up to a second', async (t) => {
  const error = new RdmaError('RDMA_ERR_REJECTED', 'no room', {
    retryAfterMs: 1200.4,
    stage: 'diffuse',
    expectedWaitMs: 5000,
    remedy: 'come back',
  });
  const { status, headers, problem, isDefect } = problemOf(error, 'r1');
  t.equal(status, 429);
  t.equal(headers['retry-after'], '2');
  t.equal(isDefect, false);
  t.strictSame(problem, {
    type: 'about:blank',
    title: 'Too Many Requests',
    status: 429,
    detail: 'no room',
    instance: 'urn:request:r1',
    code: 'RDMA_ERR_REJECTED',
    remedy: 'come back',
    retryAfterMs: 1201,
    stage: 'diffuse',
    expectedWaitMs: 5000,
  });
  t.equal(problemOf(new RdmaError('RDMA_ERR_REJECTED', 'x', { retryAfterMs: 3 }), '').headers['retry-after'], '1');
  t.equal(problemOf(new RdmaError('RDMA_ERR_STORE_FULL', 'x'), '').headers['retry-after'], '1');
});

void t.test('a stage that has to start first is no fault of the client', async (t) => {
  const cause = new RdmaError('RDMA_ERR_BUSY', 'diffuse has one in 20 s');
  const { status, headers, problem } = problemOf(
    new RdmaError('RDMA_ERR_REJECTED', 'it sleeps', { retryAfterMs: 20_400, stage: 'diffuse', cause }),
    'r1',
  );
  t.match([status, headers['retry-after']], [503, '21']);
  t.match(problem, { code: 'RDMA_ERR_REJECTED', retryAfterMs: 20_400, stage: 'diffuse' });
});

void t.test('every code of the library has a status with a title', async (t) => {
  for (const code of Object.values(ErrorCodes)) {
    const { status, problem } = problemOf(new RdmaError(code, 'x'), '');
    t.ok(status in STATUS_TITLES, `${code}: ${status}`);
    t.equal(problem.code, code);
  }
});

void t.test('a defect shows nothing of itself', async (t) => {
  for (const thrown of [
    new TypeError('secret /path'),
    'secret',
    undefined,
    { statusCode: 700 },
    new RdmaError('EIO', 'x'),
  ]) {
    const { status, problem, isDefect } = problemOf(thrown, 'r2');
    t.equal(status, 500);
    t.ok(isDefect);
    t.notMatch(JSON.stringify(problem), /secret|at |\.js/);
  }
});

void t.test("Fastify's refusals keep their status and get a code of ours", async (t) => {
  const answer = (statusCode: number) =>
    problemOf(Object.assign(new Error('words'), { statusCode, code: 'FST_X' }), '');
  t.match(answer(413).problem, { status: 413, code: 'RDMA_ERR_MESSAGE_TOO_LARGE', detail: 'words' });
  t.match(answer(415).problem, { status: 415, code: 'RDMA_ERR_NOT_SUPPORTED' });
  t.match(answer(400).problem, { status: 400, code: 'RDMA_ERR_INVALID_ARGUMENT' });
  const { headers } = problemOf(httpError(405, 'RDMA_ERR_NOT_SUPPORTED', 'x'), '');
  t.equal(headers['content-type'], 'application/problem+json');
});
