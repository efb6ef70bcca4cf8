// Proves that any number of waits may share one signal: one listener, no warning, and nothing left behind.
import { getEventListeners } from 'node:events';
import t from 'tap';
import { followAbort, onAbort } from '../../src/ts/core/abort.js';
import { pause, withDeadline } from '../../src/ts/core/deadline.js';

const listeners = (signal: AbortSignal) => getEventListeners(signal, 'abort').length;

void t.test('a signal gets one listener, and none when nobody waits', async (t) => {
  const { signal } = new AbortController();
  const removers = Array.from({ length: 100 }, () => onAbort(signal, () => t.fail('not aborted')));
  t.equal(listeners(signal), 1);
  for (const end of removers) end();
  t.equal(listeners(signal), 0);
  removers[0]!();
  const end = onAbort(signal, () => {});
  t.equal(listeners(signal), 1, 'one that comes later is heard too');
  removers[1]!();
  t.equal(listeners(signal), 1, 'those before have nothing to do with it');
  end();
});

void t.test('an abort calls each once, in order, but those that were taken back', async (t) => {
  const controller = new AbortController();
  const { signal } = controller;
  const called: string[] = [];
  const taken: (() => void)[] = [];
  onAbort(signal, () => {
    called.push('first');
    taken[2]!();
  });
  taken[1] = onAbort(signal, () => called.push('second'));
  taken[2] = onAbort(signal, () => called.push('third'));
  onAbort(signal, () => called.push('fourth'));
  taken[1]();
  controller.abort();
  t.same(called, ['first', 'fourth']);
  t.equal(listeners(signal), 0);
});

void t.test('many waits with one signal give no warning of a leak, and all end', async (t) => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  t.teardown(() => process.off('warning', onWarning));
  const controller = new AbortController();
  const { signal } = controller;
  const waits = Array.from({ length: 50 }, () => withDeadline(new Promise(() => {}), { signal, late: 'never' }));
  const pauses = Array.from({ length: 50 }, () => pause(60_000, signal));
  const ended = Promise.allSettled(waits);
  t.equal(listeners(signal), 1);
  controller.abort();
  for (const { status } of await ended) if (status !== 'rejected') t.fail('a wait that was not aborted');
  await Promise.all(pauses);
  await new Promise(setImmediate);
  t.same(warnings, []);
});

void t.test('one that is followed calls at once when it is aborted already, and never without a signal', (t) => {
  const control = new AbortController();
  const called: string[] = [];
  followAbort(undefined, () => called.push('none'))();
  followAbort(control.signal, () => called.push('taken back'))();
  followAbort(control.signal, () => called.push('later'));
  control.abort();
  t.strictSame(called, ['later']);
  followAbort(control.signal, () => called.push('at once'))();
  t.strictSame(called, ['later', 'at once']);
  t.end();
});
