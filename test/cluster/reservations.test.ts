// Proves that instances get GPUs of their own, or share them as they said; that what does not fit is refused with
// numbers and leaves nothing taken; and that the processes of a pipeline see what they were given.
import t, { type Test } from 'tap';
import { ClusterPipeline, Controller, deploy, LocalPipeline, NodeManager } from '../../src/ts/cluster/index.js';
import { machineRoom, Reservations } from '../../src/ts/cluster/reservations.js';
import { memoryControlStore } from '../../src/ts/control/index.js';
import { checkSpec, makePlan, type StageResources } from '../../src/ts/pipeline/index.js';
import { within } from '../pipeline/support.js';
import { start } from './support.js';
import { greedy, seeing } from './reservations-workflow.js';

const GIB = 2 ** 30;
const room = (gpus: number, memoryBytes = 64 * GIB) => ({
  memoryBytes,
  gpus: Array.from({ length: gpus }, () => ({ memoryBytes: 80 * GIB })),
});
const specOf = (stages: Record<string, Partial<StageResources>>) =>
  checkSpec({ name: 'x', stages: Object.entries(stages).map(([name, resources]) => ({ name, resources })) });

void t.test('each instance has its GPUs for itself, and the same ones until it has ended', async (t) => {
  const spec = specOf({ heavy: { gpus: 2 }, light: {} });
  const reservations = new Reservations(spec, room(4));
  const [one, two] = [makePlan(spec, 1), makePlan(spec, 2, [[0, 1], [0]])];
  reservations.take(one);
  const first = reservations.cudaDevices('heavy/0');
  reservations.take(two);
  t.equal(reservations.cudaDevices('heavy/0'), first);
  const both = [first, reservations.cudaDevices('heavy/1')].join(',').split(',').sort();
  t.same(both, ['0', '1', '2', '3']);
  t.equal(reservations.cudaDevices('light/0'), '', 'it sees none');
  reservations.keepOnly(one);
  reservations.take(two);
  t.same([first, reservations.cudaDevices('heavy/1')].join(',').split(',').sort(), both, 'given back and taken again');
});

void t.test('light stages share a GPU by memory', async (t) => {
  const spec = specOf({ a: { gpuMemoryBytes: 30 * GIB }, b: { gpuMemoryBytes: 30 * GIB }, c: { gpuMemoryBytes: GIB } });
  const reservations = new Reservations(spec, room(1));
  reservations.take(makePlan(spec, 1));
  t.same(
    ['a/0', 'b/0', 'c/0'].map((name) => reservations.cudaDevices(name)),
    ['0', '0', '0'],
  );
});

void t.test('what does not fit is refused with numbers, and nothing is taken', async (t) => {
  const cases: [Record<string, Partial<StageResources>>, number, code: string, words: RegExp][] = [
    [
      { a: { gpus: 2 }, b: { gpus: 2 } },
      3,
      'RDMA_ERR_NO_DEVICE',
      / b\/0 needs 2 GPUs for itself; 1 of 3 are unused \(/,
    ],
    [{ a: { gpus: 1 } }, 0, 'RDMA_ERR_NO_DEVICE', / a\/0 needs 1 GPU for itself; this machine has none/],
    [
      { a: { gpuMemoryBytes: 50 * GIB }, b: { gpuMemoryBytes: 50 * GIB } },
      1,
      'RDMA_ERR_NO_DEVICE',
      new RegExp(
        / b\/0 needs 1 GPU with 50(\.0)? GiB free .*; /.source +
          /0 of 1 are unused, and the most that one has free is 30(\.0)? GiB \(/.source,
      ),
    ],
    [
      { a: { memoryBytes: 40 * GIB }, b: { memoryBytes: 40 * GIB } },
      0,
      'ENOMEM',
      / b\/0 needs 40(\.0)? GiB .*; 24(\.0)? GiB of 64(\.0)? GiB are free for stages \(/,
    ],
  ];
  for (const [stages, gpus, code, message] of cases) {
    const spec = specOf(stages);
    const reservations = new Reservations(spec, room(gpus));
    for (const again of ['first', 'again']) {
      t.throws(() => reservations.take(makePlan(spec, 1)), { code, message }, `${Object.keys(stages)} ${again}`);
    }
  }
});

void t.test('GPUs are looked for only when a stage asks for one, with its interpreter', async (t) => {
  const asked: string[] = [];
  const read = async (interpreter = 'none') => {
    asked.push(interpreter);
    return { driver: null, cuda: null, gpus: [], peers: [], problem: null };
  };
  t.match(await machineRoom(specOf({ a: { memoryBytes: 1 } }), read), { gpus: [] });
  t.same(asked, []);
  const python = { file: 'x.py', name: 'x', interpreter: '/opt/python' };
  const wanting = checkSpec({ name: 'x', stages: [{ name: 'a', python, resources: { gpus: 1 } }] });
  t.match(await machineRoom(wanting, read), { gpus: [], whyNone: 'no driver is loaded' });
  t.same(asked, ['/opt/python']);
});

void t.test('a pipeline whose stage needs more memory than there is does not start', async (t) => {
  const error = await LocalPipeline.start(greedy, { device: 'soft0' }).catch((reason: unknown) => reason);
  t.match(error, { code: 'ENOMEM', stage: 'greedy', message: /greedy\/0 needs 1024 TiB/ });
});

void t.test(
  'where there are not the GPUs, a pipeline does not start; where there are, its processes see them',
  async (t) => {
    const { gpus } = await machineRoom(seeing.spec);
    if (gpus.length < 3) {
      const error = await LocalPipeline.start(seeing, { device: 'soft0' }).catch((reason: unknown) => reason);
      t.match(error, { code: 'RDMA_ERR_NO_DEVICE', message: /needs \d GPUs? for itself; / });
      return;
    }
    const { pipeline } = await start(t, seeing, { device: 'soft0' });
    checkSeen(t, (await within('the result', pipeline.run({}), 30_000)).outputs[0]!.meta);
  },
);

void t.test('on a node its processes see the GPUs that the plan assigns', async (t) => {
  const store = memoryControlStore();
  const controller = new Controller(store, { name: 'c', storeForgets: false });
  const common = { secret: 'a secret of the cluster', device: 'soft0' };
  const gpus = room(4).gpus;
  const node = await NodeManager.start(store, { ...common, name: 'n', has: { cores: 8, memoryBytes: GIB, gpus } });
  t.teardown(async () => {
    await within('the close of the node', node.close(), 20_000);
    await within('the close of the controller', controller.close(), 20_000);
    await store.close();
  });
  await deploy(store, seeing);
  const pipeline = await within('the gateway', ClusterPipeline.connect(store, { ...common, app: 'seeing' }), 60_000);
  try {
    const { outputs } = await within('the result', pipeline.run({}), 60_000);
    checkSeen(t, outputs[0]!.meta);
  } finally {
    await within('the close of the gateway', pipeline.close(), 20_000);
  }
});

// Two for one, another one for the next, none for the last.
function checkSeen(t: Test, meta: unknown): void {
  const { heavy, python, light } = meta as Record<string, string | null>;
  t.equal(new Set([...heavy!.split(','), ...python!.split(',')]).size, 3, `${heavy} and ${python}`);
  t.equal(light, '');
}
