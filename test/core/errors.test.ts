// Invariant under test: an RdmaError reads as Node's errors do and survives JSON.

import os from 'node:os';
import fc from 'fast-check';
import t from 'tap';
import { asRdmaError, ErrorCodes, errnoError, isRdmaError, RdmaError } from '../../src/ts/core/errors.js';

void t.test('the message has code, words, syscall and remedy, and the fields have them too', async (t) => {
  const error = errnoError(-os.constants.errno.ENOMEM, 'ibv_reg_mr', 'raise RLIMIT_MEMLOCK');
  t.equal(error.message, 'ENOMEM: cannot allocate memory, ibv_reg_mr (raise RLIMIT_MEMLOCK)');
  t.match(error, {
    name: 'RdmaError',
    code: 'ENOMEM',
    errno: -12,
    syscall: 'ibv_reg_mr',
    remedy: 'raise RLIMIT_MEMLOCK',
  });
  t.ok(error instanceof Error);
  t.match(error.stack, /^RdmaError: ENOMEM/);
  t.equal(new RdmaError(ErrorCodes.CLOSED, 'gone').message, 'RDMA_ERR_CLOSED: gone');
  t.strictSame(Object.keys(new RdmaError('EX', 'y')), ['code'], 'what is not given is not there');
});

void t.test('every error number of the system has a name and words', async (t) => {
  for (const [name, value] of Object.entries(os.constants.errno)) {
    const error = errnoError(-value, 'call');
    t.equal(os.constants.errno[error.code as 'EIO'], value, `${name} is named by a name of the same number`);
    t.notMatch(error.message, /unknown/i, name);
  }
  t.equal(errnoError(-os.constants.errno.EAGAIN, 'x').code, 'EAGAIN');
  t.equal(errnoError(os.constants.errno.EIO, 'x').errno, -os.constants.errno.EIO, 'a positive number is negated');
  t.match(errnoError(-99999, 'x'), { code: 'UNKNOWN', errno: -99999 });
  t.match(errnoError(0, 'x'), { code: 'UNKNOWN', errno: 0 });
});

void t.test('an error crosses processes as JSON, with its chain of causes', async (t) => {
  const root = new TypeError('root');
  const middle = errnoError(-5, 'read');
  middle.cause = root;
  const error = new RdmaError(ErrorCodes.HANDLER, 'outer', { cause: middle, remedy: 'fix it' });
  const back = RdmaError.fromJSON(JSON.parse(JSON.stringify(error)));
  t.equal(back.message, error.message);
  t.match(back, { code: ErrorCodes.HANDLER, remedy: 'fix it' });
  t.match(back.cause, { code: 'EIO', errno: -5, syscall: 'read' });
  t.match((back.cause as Error).cause, { name: 'TypeError', message: 'root' });
  t.strictSame(back.toJSON(), error.toJSON(), 'and again');
  t.ok(isRdmaError(back));
  t.notOk(isRdmaError({ ...error }));
  t.notOk(isRdmaError(undefined));
});

void t.test('a cyclic chain of causes is cut, and any document gives an error and never an exception', async (t) => {
  const cyclic = new RdmaError('EA', 'b', { cause: undefined });
  cyclic.cause = cyclic;
  t.ok(JSON.stringify(cyclic).length < 2000);
  fc.assert(
    fc.property(fc.anything(), (document) => {
      const error = RdmaError.fromJSON(document);
      return isRdmaError(error) && typeof error.message === 'string';
    }),
  );
});

void t.test('what is no error of this library becomes one', (t) => {
  const own = new RdmaError('RDMA_ERR_BUSY', 'later');
  t.equal(asRdmaError(own, 'other words'), own);
  const other = new TypeError('no');
  t.match(asRdmaError(other), { code: 'RDMA_ERR_INTERNAL', message: 'RDMA_ERR_INTERNAL: TypeError: no', cause: other });
  t.match(asRdmaError('text', 'the store failed'), { message: 'RDMA_ERR_INTERNAL: the store failed', cause: 'text' });
  t.end();
});
