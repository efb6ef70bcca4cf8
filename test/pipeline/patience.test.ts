// Proves how long an input is waited for whose sender has gone.
import t from 'tap';
import { Patience } from '../../src/ts/pipeline/patience.js';
import type { PlaceAddress } from '../../src/ts/pipeline/index.js';
import { addressOf } from './support.js';

const SECOND_US = 1_000_000;
const at = (port: number): PlaceAddress => addressOf({ host: '127.0.0.1', port });
const AWAY = new Promise<PlaceAddress>(() => {});

function sender(first: PlaceAddress | Promise<PlaceAddress>) {
  const now = { where: first };
  return { now, patience: new Patience(() => now.where, 5 * SECOND_US) };
}

void t.test('one that is there all the time: 30 seconds', async (t) => {
  const { patience } = sender(at(1));
  t.equal(patience.next(34 * SECOND_US), 20);
  t.equal(patience.next(35 * SECOND_US), undefined);
});

void t.test('one that is being replaced, and then makes the input again: as long as it takes', async (t) => {
  const { now, patience } = sender(at(1));
  now.where = AWAY;
  t.equal(patience.next(34 * SECOND_US), 20);
  t.equal(patience.next(500 * SECOND_US), 1000);
  now.where = at(2);
  t.equal(patience.next(5000 * SECOND_US), 1000);
});

void t.test('one that was away from the beginning', async (t) => {
  const { now, patience } = sender(AWAY);
  t.equal(patience.next(500 * SECOND_US), 1000);
  now.where = at(2);
  t.equal(patience.next(5000 * SECOND_US), 1000);
});

void t.test('a gateway, which does not send its requests again', async (t) => {
  t.equal(new Patience(undefined, 0).next(29 * SECOND_US), 20);
  t.equal(new Patience(undefined, 0).next(30 * SECOND_US), undefined);
});

void t.test('one of which nothing is known', async (t) => {
  const unknown = () => {
    throw new Error('nobody knows');
  };
  t.equal(new Patience(unknown, 0).next(30 * SECOND_US), undefined);
});
