// Proves that the example of raw verbs counts right: no addition of any process is lost.
import t from 'tap';
import { runExample } from './run.js';

void t.test('workers count in the memory of another process, and none of their additions is lost', async (t) => {
  const out = 'worker 1 has counted\nworker 2 has counted\n2000n\n';
  t.strictSame(await runExample('verbs/counter.mjs', ['2']), { code: 0, out, err: '' });
});

void t.test('a device that is not there ends it with the reason', async (t) => {
  const { code, err } = await runExample('verbs/counter.mjs', ['1', 'none0']);
  t.equal(code, 1);
  t.match(err, /RDMA_ERR_NO_DEVICE/);
});
