// Proves: the processes of a subject are found, their time and memory counted, and one that has ended is an error.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { checkTree, cpuUsOf, memoryOf, treeOf } from '../../../src/ts/bench/kit/processes.js';

const BUSY = 'console.log("up"); const end = Date.now() + 20000; while (Date.now() < end);';

void t.test(
  'a child that works is in the tree, with its time and memory; it is missed when it has ended',
  async (t) => {
    const before = treeOf(process.pid);
    const child = spawn(process.execPath, ['-e', BUSY], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    const pid = child.pid!;
    t.strictSame(
      treeOf(process.pid).filter((one) => !before.includes(one)),
      [pid],
    );
    t.throws(() => checkTree(process.pid, before), { code: 'RDMA_ERR_PEER_GONE' });
    const cpuBegin = cpuUsOf([pid]);
    const begin = performance.now();
    while (cpuUsOf([pid]) - cpuBegin < 100_000 && performance.now() - begin < 10_000) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const wallUs = (performance.now() - begin) * 1000;
    const spentUs = cpuUsOf([pid]) - cpuBegin;
    t.ok(spentUs >= 100_000 && spentUs <= wallUs + 20_000, `${spentUs} us of ${wallUs}`);
    const { rssKib, pssKib } = memoryOf([pid]);
    t.ok(rssKib > 10_000 && pssKib > 1000 && pssKib <= rssKib, `${rssKib}, ${pssKib}`);
    child.kill('SIGKILL');
    await once(child, 'exit');
    t.throws(() => cpuUsOf([pid]), { code: 'RDMA_ERR_PEER_GONE' });
    t.throws(() => memoryOf([pid]), { code: 'RDMA_ERR_PEER_GONE' });
  },
);
