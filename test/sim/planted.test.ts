// Proves that the simulation finds defects: each one planted here is found within a bounded number of seeds, and its
// seed shows the same failure again; and that none is seen without it.
import t from 'tap';
import type { MemoryReference } from '../../src/ts/ring/index.js';
import { Admission } from '../../src/ts/ring/admission.js';
import { Block } from '../../src/ts/ring/block.js';
import { Connection } from '../../src/ts/ring/connection.js';
import { Lane } from '../../src/ts/ring/lane.js';
import { LaneReader } from '../../src/ts/ring/lane-reader.js';
import { LaneSpace } from '../../src/ts/ring/lane-space.js';
import { Pulls } from '../../src/ts/ring/pulls.js';
import { RemoteMemory } from '../../src/ts/ring/remote-memory.js';
import { RequestWriter } from '../../src/ts/ring/request-writer.js';
import { RetainedMessages } from '../../src/ts/ring/retained-messages.js';
import { Segment } from '../../src/ts/ring/segment.js';
import { ProducerProgress } from '../../src/ts/ring/producer-progress.js';
import { ShortSender } from '../../src/ts/ring/short-sender.js';
import { EnumeratedChoices, ListedChoices, SeededChoices } from '../../src/ts/sim/choices.js';
import type { DeviceFlaw } from '../../src/ts/sim/world.js';
import { SMALL_CASES } from './cases.js';
import { writeOnlyNew } from './pipeline-planted-list.js';
import { plant } from './plant.js';
import { checkFound } from './planted-defect.js';
import { play } from './ring-run.js';
import { type Shape, shapeOf } from './shape.js';

Error.stackTraceLimit = 0;
const WITHIN = 3000;

const nothing = () => {};

/** Builds in mapped lanes, holds messages for long, and loses connections: rare in the shapes of seeds. */
const inPlace: Partial<Shape> = {
  copier: 'process',
  inPlace: true,
  ways: ['reserve'],
  buildMs: 20,
  holdMs: 50,
  slots: 4,
  dataBytes: 1024,
  retainMessages: 16,
  retainBytes: 4096,
  messages: 8,
  lengths: [100, 64],
  pullAboveBytes: undefined,
  faults: ['cut-channel'],
  faultCount: 2,
};

/** Short messages, in slots of a mapped lane at which the inbox looks. */
const short: Partial<Shape> = {
  ...inPlace,
  wait: 'busy',
  ways: ['send'],
  producers: 1,
  checksum: false,
  inlineBytes: 64,
  lengths: [40, 20, 64],
  batch: 1,
  direct: true,
};

/** Messages that refer to blocks of small pools, which are used again and again. */
const referring: Partial<Shape> = {
  copier: 'process',
  ways: ['refer'],
  messages: 8,
  slots: 4,
  dataBytes: 512,
  retainMessages: 16,
  retainBytes: 2048,
  lengths: [300, 100, 40],
  pullAboveBytes: undefined,
  batch: 1,
  holdMs: 50,
  poolBytes: 4096,
  poolIdleMs: 5000,
};

/** The inbox forgets what it has delivered when a lane ends. */
const forgetful = () =>
  plant(
    Admission.prototype,
    'remove',
    (original) =>
      function (this: { byProducer: Admission['byProducer'] }, lane: Lane) {
        original.call(this as never, lane as never);
        this.byProducer.delete(lane.progress.producer);
      },
  );

interface Planted {
  name: string;
  flaw?: DeviceFlaw;
  plant?: () => () => void;
  /** Where the shapes of seeds would meet it too seldom. */
  shape?: Partial<Shape>;
  /** What is seen of it. */
  seen: RegExp;
}

const planted: Planted[] = [
  { name: 'a descriptor overtakes its payload', flaw: 'requests-reordered', seen: /has other bytes than were sent/ },
  {
    name: 'destroying a queue pair does not end its peer',
    shape: { faults: ['cut-channel'], faultCount: 4, messages: 8, retainMessages: 16 },
    flaw: 'close-leaves-connection',
    seen: /two writers|lane that was fenced/,
  },
  { name: 'nobody polls again after arming', flaw: 'blind-after-arming', seen: /^deadlock/ },
  {
    name: 'a poller does not look again after arming',
    shape: { wait: 'adaptive', poller: true },
    flaw: 'blind-after-arming',
    seen: /^deadlock/,
  },
  {
    name: 'a fence revokes nothing',
    plant: () =>
      plant(
        Lane.prototype,
        'fence',
        () =>
          function (this: Lane) {
            this.fenced = true;
            this.progress.lane = undefined;
            return true;
          },
      ),
    seen: /lane that was fenced|two writers/,
  },
  {
    name: 'what was written before is not written again after a reconnect',
    plant: writeOnlyNew,
    seen: /^deadlock|came after|begins with/,
  },
  {
    name: 'one message too many counts as acknowledged',
    // A block that is used again too early would be seen first.
    shape: { ways: ['send'] },
    plant: () =>
      plant(
        ProducerProgress.prototype,
        'acknowledge',
        (original) =>
          function (this: never, sequence: number) {
            return original.call(this, sequence as never) || original.call(this, (sequence + 1) as never);
          },
      ),
    seen: /counts as acknowledged and is not/,
  },
  {
    name: 'space is given back before it is released',
    plant: () =>
      plant(
        LaneSpace.prototype,
        'release',
        (original) =>
          function (this: { releasedFlags: LaneSpace['releasedFlags'] }, sequence: number) {
            this.releasedFlags.fill(1);
            return original.call(this as never, sequence as never);
          },
      ),
    seen: /changed while it was held|has other bytes/,
  },
  {
    name: 'who looks at memory does not wait for the completion of what is in the data ring',
    shape: {
      copier: 'device',
      weakOrder: true,
      wait: 'busy',
      inlineBytes: 64,
      messages: 4,
      slots: 8,
      dataBytes: 1024,
      retainBytes: 1024,
      lengths: [100, 20],
      pullAboveBytes: undefined,
      checksum: false,
      faultCount: 0,
    },
    plant: () =>
      plant(
        LaneReader.prototype,
        'arrived',
        (original) =>
          function (this: { landed: LaneReader['landed'] }) {
            this.landed = Math.max(1, this.landed);
            return original.call(this as never);
          },
      ),
    seen: /has other bytes/,
  },
  {
    name: 'a slot is used without credit',
    plant: () =>
      plant(
        RequestWriter.prototype,
        'fill',
        (original) =>
          function (this: { placement: RequestWriter['placement'] }, ...args: never[]) {
            const { placement } = this;
            const { released } = placement;
            placement.released = Math.min(placement.sent, released + 1);
            const added = original.call(this as never, ...args);
            placement.released = released;
            return added;
          },
      ),
    seen: /^deadlock|found no receive|changed while|has other bytes/,
  },
  {
    name: 'a short message is stored without credit',
    shape: short,
    plant: () =>
      plant(
        ShortSender.prototype,
        'show',
        (original) =>
          function (this: { placement: ShortSender['placement'] }, ...args: never[]) {
            const { placement } = this;
            const { released } = placement;
            placement.released = Math.min(placement.sent, released + 1);
            const isShown = original.call(this as never, ...args);
            placement.released = released;
            return isShown;
          },
      ),
    seen: /^deadlock|changed while|has other bytes/,
  },
  {
    name: 'of a short message no copy is kept',
    shape: { ...short, faults: ['crash-consumer'], faultCount: 2 },
    plant: () =>
      plant(
        RetainedMessages.prototype,
        'take',
        (original) =>
          function (this: never, bytes: Uint8Array, now: number) {
            original.call(this, new Uint8Array(bytes.length) as never, now as never);
          },
      ),
    seen: /has other bytes/,
  },
  {
    name: 'more is retained than there is room for',
    plant: () =>
      plant(
        RetainedMessages.prototype,
        'fits',
        (original) =>
          function (this: RetainedMessages, ...args: never[]) {
            const { acknowledged } = this;
            this.acknowledged = Math.min(this.last, acknowledged + 1);
            const fits = original.call(this as never, ...args);
            this.acknowledged = acknowledged;
            return fits;
          },
      ),
    seen: /holds more than it may|has other bytes/,
  },
  {
    name: 'the inbox forgets what it has delivered',
    plant: forgetful,
    // The outbox says that it has been there: it is refused, and nothing is delivered twice.
    seen: /has failed: RDMA_ERR_REFUSED/,
  },
  {
    name: 'deregistering leaves mapped memory mapped',
    flaw: 'deregister-keeps-key',
    shape: inPlace,
    seen: /lane that was fenced/,
  },
  {
    name: 'what was built in the lane is not kept when its space goes back',
    shape: { ...inPlace, slots: 2, dataBytes: 128, buildMs: 0, faults: ['crash-consumer'] },
    plant: () => plant(Connection.prototype, 'spill', () => nothing),
    seen: /has other bytes|^deadlock/,
  },
  {
    name: 'what was built in the lane is not brought home when the lane ends',
    plant: () => plant(RetainedMessages.prototype, 'bring', () => nothing),
    // With a checksum of the payload the lane is fenced for it, again and again.
    seen: /has other bytes|has failed|^deadlock/,
  },
  {
    name: 'a block is used again at its first release',
    shape: referring,
    plant: () =>
      plant(
        Block.prototype,
        'release',
        (original) =>
          function (this: {
            references: Block['references'];
            owner: Block['owner'];
            of: Block['of'];
            offset: Block['offset'];
          }) {
            if (this.references === 1) this.references = 0;
            else {
              this.owner.freed(this.of, this.offset);
              original.call(this as never);
            }
          },
      ),
    seen: /has other bytes|changed while it was held/,
  },
  {
    name: 'memory of a segment is given back while a block of it is in use',
    shape: { ...referring, poolIdleMs: 1 },
    plant: () => plant(Segment.prototype, 'taken', () => nothing),
    seen: /has other bytes|changed while|cannot be had|has failed/,
  },
  {
    name: 'a mapped segment is known by its key, which comes again',
    shape: { ...referring, poolIdleMs: 1, buildMs: 20, holdMs: 2, faultCount: 0 },
    plant: () =>
      plant(
        RemoteMemory.prototype,
        'hold',
        (original) =>
          function (this: never, owner: never, reference: MemoryReference) {
            return original.call(this, owner, { ...reference, segment: reference.rkey } as never);
          },
      ),
    seen: /has other bytes|cannot be had/,
  },
  {
    name: 'what one message has let go is unmapped, though another one holds it',
    shape: referring,
    plant: () =>
      plant(
        RemoteMemory.prototype,
        'letGo',
        () =>
          function (this: { unmap: RemoteMemory['unmap'] }, segment: never) {
            this.unmap(segment);
          },
      ),
    seen: /changed while it was held/,
  },
  {
    name: 'a READ of a block that has lost its lane does not begin again',
    shape: { ...referring, copier: 'device', faults: ['cut-channel', 'cut-queue-pair'], faultCount: 4 },
    plant: () => plant(Pulls.prototype, 'laneEnded', () => nothing),
    seen: /cannot be had|^deadlock/,
  },
  {
    name: 'a report is waited for that has arrived',
    plant: () => plant(Lane.prototype, 'controlSent', () => nothing),
    seen: /^deadlock/,
  },
];

for (const { name, flaw, plant: put, shape, seen } of planted) {
  const without = (seed: number): Shape => ({ ...shapeOf(seed), ...shape });
  const shapeFor = (seed: number): Shape => ({ ...without(seed), ...(flaw === undefined ? {} : { flaw }) });
  void t.test(`found: ${name}`, { timeout: 0 }, async (t) => {
    const playAs = (shapeBy: (seed: number) => Shape) => (seed: number) => play(new SeededChoices(seed), shapeBy(seed));
    await checkFound(t, WITHIN, put, seen, playAs(shapeFor), playAs(without));
  });
}

void t.test('a list of choices repeats the run that has printed it', { timeout: 0 }, async (t) => {
  const small = SMALL_CASES.find(({ name }) => name === 'fault-on-host-two-slots')!;
  const { limits, shape } = small;
  const choices = new EnumeratedChoices(limits);
  const removeDefect = forgetful();
  try {
    let verdict = await play(choices, shape);
    while (verdict.broken.length === 0 && choices.next()) verdict = await play(choices, shape);
    t.match(verdict.broken[0], /has failed: RDMA_ERR_REFUSED/);
    const text = choices.replay.replace('--choices ', '');
    t.match(text, /^\d+:\d+/);
    t.strictSame(await play(new ListedChoices(text, limits), shape), verdict);
    removeDefect();
    t.strictSame((await play(new ListedChoices(text, limits), shape)).broken, []);
  } finally {
    removeDefect();
  }
});

void t.test('the same seed gives the same run', async (t) => {
  for (const seed of [7, 1382, 2 ** 40 + 3]) {
    const first = await play(new SeededChoices(seed), shapeOf(seed));
    t.ok(first.steps > 20);
    t.strictSame(await play(new SeededChoices(seed), shapeOf(seed)), first);
  }
});
