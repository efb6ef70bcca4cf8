// Proves that whoever sends to a place gives up on an address that does not answer, and never while there is none.
import t from 'tap';
import { AwayTime } from '../../src/ts/pipeline/away-time.js';
import { addressOf } from './support.js';

const at = (port: number) => addressOf({ host: '127.0.0.1', port });

function clock() {
  const time = { ms: 0 };
  const away = new AwayTime(() => time.ms, 1000);
  return { time, away };
}

void t.test('an address that does not answer for long enough is given up', async (t) => {
  const { time, away } = clock();
  for (time.ms = 0; time.ms <= 1000; time.ms += 100)
    t.same(
      away.find(() => at(1)),
      at(1),
    );
  t.throws(() => away.find(() => at(1)), {
    code: 'RDMA_ERR_REFUSED',
    message: /127\.0\.0\.1:1 has not answered for 1000 ms/,
  });
});

void t.test('a connection, another address, and a time without an address begin it again', async (t) => {
  for (const again of [
    (away: AwayTime) => away.reached(),
    (away: AwayTime) => void away.find(() => at(2)),
    (away: AwayTime) => void away.find(() => Promise.resolve(at(1))),
  ]) {
    const { time, away } = clock();
    away.find(() => at(1));
    time.ms = 900;
    again(away);
    time.ms = 1800;
    t.doesNotThrow(() => away.find(() => at(1)));
  }
});

void t.test('an address that cannot be found counts as one that does not answer', async (t) => {
  const { time, away } = clock();
  const unknown = () => {
    throw new Error('nobody knows');
  };
  t.throws(() => away.find(unknown), /nobody knows/);
  time.ms = 1001;
  t.throws(() => away.find(unknown), { code: 'RDMA_ERR_REFUSED' });
});
