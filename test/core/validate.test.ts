// Invariant under test: a check returns its value or names the argument, what was given and what is expected.

import { runInNewContext } from 'node:vm';
import t from 'tap';
import {
  checkAbortSignal,
  checkBoolean,
  checkBytes,
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  checkString,
} from '../../src/ts/core/validate.js';

const code = 'RDMA_ERR_INVALID_ARGUMENT';

void t.test('integers', async (t) => {
  t.equal(checkInteger('n', 3, 1, 3), 3);
  for (const bad of [0, 4, 1.5, Number.NaN, Infinity, '3', 3n, null, undefined, 2 ** 53]) {
    t.throws(() => checkInteger('depth', bad, 1, 3), { code, message: /depth must be an integer from 1 to 3, not / });
  }
});

void t.test('one of a list', async (t) => {
  t.equal(checkOneOf('mode', 'busy', ['busy', 'event']), 'busy');
  t.throws(() => checkOneOf('mode', 'x', ['busy', 'event']), {
    code,
    message: /mode must be one of 'busy', 'event', not 'x'/,
  });
});

void t.test('strings', async (t) => {
  t.equal(checkString('s', ''), '');
  t.equal(checkString('s', 'ab', { minLength: 2, maxLength: 2, pattern: /^a/ }), 'ab');
  for (const bad of ['a', 'abc', 'ba', 5, null]) {
    t.throws(() => checkString('s', bad, { minLength: 2, maxLength: 2, pattern: /^a/ }), {
      code,
      message: /s must be/,
    });
  }
  const long = 'x'.repeat(100000);
  t.throws(
    () => checkString('s', long, { maxLength: 5 }),
    { code, message: /^.{1,250}$/ },
    'a long value is cut short',
  );
});

void t.test('booleans, functions and objects', async (t) => {
  t.equal(checkBoolean('b', false), false);
  t.throws(() => checkBoolean('b', 0), { code });
  const f = (): void => undefined;
  t.equal(checkFunction('f', f), f);
  t.throws(() => checkFunction('f', {}), { code, message: /f must be a function, not \{\}/ });
  const o = {};
  t.equal(checkObject('o', o), o);
  for (const bad of [null, [], f, 'x', undefined]) t.throws(() => checkObject('o', bad), { code });
});

void t.test('abort signals', async (t) => {
  const { signal } = new AbortController();
  t.equal(checkAbortSignal('signal', signal), signal);
  t.equal(checkAbortSignal('signal', undefined), undefined);
  for (const bad of [null, {}, 1, new AbortController()]) t.throws(() => checkAbortSignal('signal', bad), { code });
});

void t.test('bytes are viewed and not copied, and detached memory is refused', async (t) => {
  const words = new Uint32Array([1, 2, 3]);
  const view = checkBytes('b', words.subarray(1));
  t.equal(view.buffer, words.buffer);
  t.equal(view.byteOffset, 4);
  t.equal(view.byteLength, 8);
  const bytes = Buffer.from('abc');
  t.equal(checkBytes('b', bytes), bytes);
  t.equal(checkBytes('b', new ArrayBuffer(0)).byteLength, 0);
  t.equal(checkBytes('b', new Uint8Array(0)).byteLength, 0);
  t.equal(checkBytes('b', new SharedArrayBuffer(4)).byteLength, 4);
  for (const kind of ['ArrayBuffer(4)', 'SharedArrayBuffer(4)', 'Uint8Array(4)', 'Float32Array(1)']) {
    t.equal(checkBytes('b', runInNewContext(`new ${kind}`)).byteLength, 4, `${kind} of another realm`);
  }
  const buffer = new ArrayBuffer(8);
  const left = new Uint8Array(buffer);
  structuredClone(buffer, { transfer: [buffer] });
  t.throws(() => checkBytes('b', left), { code });
  t.throws(() => checkBytes('b', buffer), { code });
  t.throws(() => checkBytes('b', 'text'), { code });
});

void t.test('a value that cannot be shown does not break the message', async (t) => {
  const nasty = new Proxy(
    {},
    {
      get() {
        throw new Error('no');
      },
      ownKeys() {
        throw new Error('no');
      },
    },
  );
  t.throws(() => checkInteger('n', nasty), { code });
  t.throws(
    () =>
      checkInteger('n', {
        [Symbol.for('nodejs.util.inspect.custom')]: () => {
          throw new Error('no');
        },
      }),
    { code },
  );
});
