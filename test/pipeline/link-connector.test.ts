// Proves that a place goes by the device that reaches each target, also by several at a time, and that nothing is lost
// or done for nothing when a target comes back on another host: what it has not acknowledged goes by the other device.
import t from 'tap';
import {
  type PlaceOptions,
  type StageHandler,
  systemPipelinePort,
  tensor,
  workflow,
} from '../../src/ts/pipeline/index.js';
import type { RingPort } from '../../src/ts/ring/port.js';
import { Device } from '../../src/ts/verbs/index.js';
import { DEVICE, failureOf, gate, Harness, until, within } from './support.js';

const here = { module: __filename };
const LONG = 300_000;

const notShared = () => {
  throw Object.assign(new Error('peers of a card share no memory'), { code: 'ENOTSUP' });
};

// The same object, with some things different.
function disguise<T extends object>(object: T, different: Readonly<Record<string, unknown>>): T {
  return new Proxy(object, {
    get: (target, key) => {
      if (Object.hasOwn(different, key)) return different[key as string];
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

// A network card in the eyes of all that is above: a software device that shares no memory with its peers.
function card(): Device {
  const device = Device.open('soft0');
  return disguise(device, {
    name: 'card0',
    portAddress: () => ({ ...device.portAddress(), type: 'RoCE v2' }),
    allocateProtectionDomain: () => {
      const domain = device.allocateProtectionDomain();
      return disguise(domain, {
        registerMapping: notShared,
        createQueuePair: (options: Parameters<typeof domain.createQueuePair>[0]) =>
          disguise(domain.createQueuePair(options), { mapRemote: notShared }),
      });
    },
  });
}

const device: RingPort['device'] = (wanted) =>
  wanted === 'card0' ? { device: card(), owned: true } : systemPipelinePort.device(wanted);

/** A host with both kinds of devices, or with the software device only. */
function host(name: string, hasCard = true): Partial<PlaceOptions> {
  const location = { machine: `machine ${name}`, memory: `memory ${name}`, hostname: name };
  const port = { ...systemPipelinePort, device, location };
  return { port, device: 'soft0', otherDevices: hasCard ? ['card0'] : [], listenHost: '127.0.0.2' };
}

const X = host('x');
const Y = host('y');

// Both inputs have to be what the request said, the long tensor to its last byte.
const fill = (n: number) => tensor('u8', [LONG], new Uint8Array(LONG).fill(n));
const check = (n: unknown, data: unknown) =>
  (data as Uint8Array).length === LONG && (data as Uint8Array).every((v) => v === n);

const pass: StageHandler = (task) => {
  const { meta, parts } = task.input('request');
  return { meta, parts: { handedOn: parts.x!, made: fill(Number(meta.n)) } };
};

const diamond = (last?: (n: number) => Promise<void>) =>
  workflow('devices', here)
    .stage('near', { concurrency: 8, maxOutputBytes: 4 * LONG, handler: pass })
    .stage('far', { concurrency: 8, maxOutputBytes: 4 * LONG, handler: pass })
    .stage('last', {
      after: ['near', 'far'],
      concurrency: 8,
      maxOutputBytes: 4 * LONG,
      handler: async (task) => {
        const inputs = (['near', 'far'] as const).map((name) => task.input(name));
        const { n } = inputs[0]!.meta;
        const good = inputs.every(({ parts }) => check(n, parts.handedOn?.data) && check(n, parts.made?.data));
        await last?.(Number(n));
        return { meta: { n, good }, parts: { x: inputs[1]!.parts.made! } };
      },
    });

const viasOf = (pipeline: Harness, place: string) =>
  Object.fromEntries(
    pipeline.stages
      .get(place)!
      .status()
      .links.map(({ target, via }) => [target, via.device]),
  );

async function runs(pipeline: Harness, from: number, count: number): Promise<Promise<void>[]> {
  return Array.from({ length: count }, async (_, i) => {
    const n = from + i;
    const { outputs } = await pipeline.gateway.run({ meta: { n }, parts: { x: fill(n) } });
    const { meta, parts } = outputs[0]!;
    if (meta.n !== n || meta.good !== true || !check(n, parts.x?.data)) throw new Error(`a wrong result: ${n}`);
  });
}

void t.test(
  'both kinds of devices in one pipeline',
  { skip: DEVICE !== 'soft0' && 'made of software devices' },
  async (t) => {
    // The gateway sends each request by both devices; what `near` hands on lies in memory of the gateway.
    const where = (place: string) => (place === 'far/0' || place === 'last/0' ? Y : X);
    const pipeline = await Harness.open(diamond(), { where });
    t.teardown(() => pipeline.close());
    t.same(viasOf(pipeline, 'near/0'), { 'gateway/0': 'soft0', 'last/0': 'card0' });
    t.same(viasOf(pipeline, 'far/0'), { 'gateway/0': 'card0', 'last/0': 'soft0' });
    const { links } = pipeline.gateway.status();
    t.match(links.find(({ target }) => target === 'near/0')?.via, { device: 'soft0', why: /shared memory/ });
    t.match(links.find(({ target }) => target === 'far/0')?.via, { device: 'card0', why: /RoCE v2/ });
    await within('all results', Promise.all(await runs(pipeline, 0, 40)));
    await pipeline.idle();
    t.same(pipeline.failures, []);
  },
);

void t.test(
  'a target that comes back on another host, and again',
  { skip: DEVICE !== 'soft0' && 'made of software devices' },
  async (t) => {
    const hosts = new Map([['last/0', X]]);
    let held = gate();
    let runsOf = 0;
    const pipeline = await Harness.open(
      diamond(async () => {
        runsOf++;
        await held.opened;
      }),
      { where: (place) => hosts.get(place) ?? X },
    );
    t.teardown(() => pipeline.close());
    let n = 0;
    for (const [to, by] of [
      [Y, 'card0'],
      [X, 'soft0'],
      [Y, 'card0'],
    ] as const) {
      const before = runsOf;
      const results = await runs(pipeline, n, 12);
      n += 12;
      await until('tasks that run where it is', () => runsOf === before + 8);
      await until('the others behind them', () => pipeline.unacknowledged('near/0', 'last/0') === 12);
      hosts.set('last/0', to);
      const replaced = pipeline.replace('last/0');
      // What comes while it is on its way goes by the new device too.
      results.push(...(await runs(pipeline, n, 4)));
      n += 4;
      await within('the other process', replaced);
      held.open();
      await within('all results', Promise.all(results), 30_000);
      t.equal(viasOf(pipeline, 'near/0')['last/0'], by);
      t.equal(viasOf(pipeline, 'far/0')['last/0'], by);
      await pipeline.idle();
      held = gate();
    }
    held.open();
    t.same(pipeline.failures, []);
  },
);

void t.test('no device reaches the target', { skip: DEVICE !== 'soft0' && 'made of software devices' }, async (t) => {
  const where = (place: string) => (place === 'far/0' ? host('z', false) : X);
  const error = await failureOf(Harness.open(diamond(), { where }));
  t.equal(error.code, 'RDMA_ERR_NO_DEVICE');
  t.match(error.message, /no device reaches \S+: here \([xz]\) are soft0/);
  t.match(error.message, /card0 \(RoCE v2/);
});

void t.test('a target that is cut off says nothing: what it has not acknowledged goes to its successor', async (t) => {
  const held = gate();
  let runsOfLast = 0;
  const flow = workflow('cut-off', here)
    .stage('first', { handler: (task) => ({ meta: task.input('request').meta }) })
    .stage('last', {
      after: ['first'],
      concurrency: 4,
      handler: async (task) => {
        const isSilent = ++runsOfLast <= 3; // those that the one that is cut off has begun
        if (isSilent) await held.opened;
        return { meta: { ...task.input('first').meta, by: isSilent ? 'silent' : 'successor' } };
      },
    });
  const pipeline = await Harness.open(flow);
  t.teardown(() => pipeline.close());
  const results = Array.from({ length: 3 }, (_, n) => pipeline.gateway.run({ meta: { n } }));
  await until('tasks at the one that is cut off', () => runsOfLast === 3);
  t.equal(pipeline.unacknowledged('first/0', 'last/0'), 3);
  const silent = await pipeline.supersede('last/0');
  t.teardown(() => silent.close());
  const found = await within('all results', Promise.all(results), 20_000);
  t.strictSame(
    found.map(({ outputs }) => outputs[0]!.meta),
    [0, 1, 2].map((n) => ({ n, by: 'successor' })),
    'while the one before has not answered, and its connections are open',
  );
  held.open(); // its machine is back: what it says late changes nothing
  await until('its end of the tasks', () => silent.status().running === 0);
  t.strictSame((await within('another result', pipeline.gateway.run({ meta: { n: 3 } }))).outputs[0]!.meta, {
    n: 3,
    by: 'successor',
  });
  await pipeline.idle();
  const connects = () =>
    Object.fromEntries(pipeline.gateway.status().links.map(({ target, outbox }) => [target, outbox.counters.connects]));
  pipeline.tellAddresses();
  await within('a result', pipeline.gateway.run({ meta: { n: 4 } }));
  t.strictSame(connects(), { 'first/0': 1, 'last/0': 2 }, 'a link whose target is where it was stays');
  t.same(pipeline.failures, []);
});

void t.test('a target that moves while it is being connected to is followed', async (t) => {
  const flow = workflow('moves-early', here)
    .stage('first', { handler: (task) => ({ meta: task.input('request').meta }) })
    .stage('last', { after: ['first'], handler: (task) => ({ meta: task.input('first').meta }) });
  const pipeline = await Harness.open(flow);
  t.teardown(() => pipeline.close());
  const before = pipeline.addressOf('last/0');
  const silent = await pipeline.supersede('last/0');
  t.teardown(() => silent.close());
  const after = pipeline.addressOf('last/0');
  // A new sender finds the address of the one before, and hears of the next one while it connects.
  pipeline.setAddress('last/0', before);
  await pipeline.remove('first/0');
  const first = await pipeline.reopen('first/0');
  const connected = first.connect();
  pipeline.setAddress('last/0', after);
  pipeline.tellAddresses();
  await within('the connections', connected);
  const { outputs } = await within('a result', pipeline.gateway.run({ meta: { n: 1 } }), 20_000);
  t.strictSame(outputs[0]!.meta, { n: 1 });
  t.equal(pipeline.stages.get('last/0')!.status().tasks, 1, 'it was done where the place is');
  await pipeline.idle();
  t.same(pipeline.failures, []);
});
