// Proves that a view says what its watch has told, in that order, whatever answers to questions say meanwhile.
import t, { type Test } from 'tap';
import { readJson } from '../../src/ts/control/index.js';
import { View } from '../../src/ts/control/view.js';
import { entryOf, ScriptedPort, ScriptedStore } from './scripted.js';

function open(t: Test) {
  const [store, port] = [new ScriptedStore(), new ScriptedPort()];
  const told: string[] = [];
  const onChange = (key: string | undefined, entry: ReturnType<View['get']>) => {
    if (key !== undefined) told.push(entry === undefined ? 'gone' : `${entry.revision}: ${String(readJson(entry))}`);
  };
  const view = new View(store, { prefix: 'k', leaseMs: 3000, port, onChange });
  t.teardown(() => view.close());
  return { store, port, view, told };
}

const put = (revision: number, value: string) => ({ type: 'put' as const, entry: entryOf('k', revision, value) });
const synced = { type: 'synced' as const };

void t.test('an answer that is ahead of the watch moves the clock of a record, and not the record', async (t) => {
  const { store, port, view, told } = open(t);
  await store.tell(put(1, 'a'), synced);
  await port.pass(500);
  store.found = entryOf('k', 1, 'a');
  t.ok(await view.probe('k'));
  t.equal(view.unchangedMs('k'), 500);
  store.found = entryOf('k', 4, 'd');
  await view.probe('k');
  t.equal(view.unchangedMs('k'), 0, 'it has changed');
  await port.pass(100);
  await view.probe('k');
  t.equal(view.unchangedMs('k'), 100, 'once');
  await store.tell(put(2, 'b'), put(4, 'd'));
  t.strictSame(told, ['1: a', '2: b', '4: d'], 'what the watch tells does not go back');
});

void t.test('a record that an answer has and the watch has not told was not absent', async (t) => {
  const { store, port, view } = open(t);
  await store.tell(synced);
  await port.pass(500);
  await view.probe('k');
  t.equal(view.unchangedMs('k'), 500);
  store.found = entryOf('k', 1, 'a');
  await view.probe('k');
  t.equal(view.unchangedMs('k'), 0);
});

void t.test('a revision that a store has given twice is reported twice', async (t) => {
  const { store, told } = open(t);
  await store.tell(put(7, 'a'), synced, { type: 'restarted' }, put(7, 'b'), synced, put(7, 'b'));
  t.strictSame(told, ['7: a', '7: b']);
});

void t.test('an answer with another record under the same revision says that it has changed', async (t) => {
  const { store, port, view } = open(t);
  await store.tell(put(7, 'a'), synced);
  await port.pass(500);
  store.found = entryOf('k', 7, 'b');
  await view.probe('k');
  t.equal(view.unchangedMs('k'), 0);
});

void t.test(
  'what an answer told of is forgotten with the store; the revision comes again, for another record',
  async (t) => {
    const { store, port, view } = open(t);
    await store.tell(put(3, 'a'), synced);
    store.found = entryOf('k', 7, 'b');
    await view.probe('k');
    await store.tell({ type: 'restarted' }, put(3, 'a'), synced);
    await port.pass(500);
    await store.tell(put(7, 'c'));
    t.equal(view.unchangedMs('k'), 0);
  },
);

void t.test('from the moment that a watch begins again, everything has its whole time', async (t) => {
  const { store, port, view } = open(t);
  await store.tell(put(1, 'a'), synced);
  await port.pass(500);
  const { era } = view;
  await store.tell({ type: 'restarted' });
  t.ok(view.era > era);
  await store.tell(put(1, 'a'));
  t.equal(view.unchangedMs('k'), 0);
  store.get = () => new Promise((resolve) => port.timers.after(50, () => resolve(undefined)));
  const late = view.probe('k');
  await store.tell({ type: 'restarted' });
  await port.pass(100);
  t.equal(await late, false, 'an answer from before says nothing');
});
