// Proves that a lane costs nothing once it has ended: thousands are opened and closed, and the process stays as large
// as it was. `npm run chaos -- --churn 1000000` does it a million times.
import t from 'tap';
import { CompletionStatus } from '../../src/ts/verbs/index.js';
import { churn } from './churn.js';
import { leftBehind, openNow } from './leftovers.js';
import { RawProducer } from './raw-producer.js';
import { content, hasContent, linkOf, openInbox, openOutbox, until } from './support.js';

const LANES = 3000;
/** A hundredth of what the lanes had, each with a region of some KiB and a directory's slots. */
const GROWTH_BYTES = 16 << 20;

void t.test(`${LANES} lanes are opened and closed, and nothing is left of them`, { timeout: 0 }, async (t) => {
  const before = openNow();
  const result = await churn(LANES);
  t.comment(JSON.stringify(result));
  t.ok(result.lanes >= LANES && result.fences >= LANES - 1);
  t.ok(result.messages >= 3 * LANES);
  const grown = result.afterBytes - result.beforeBytes;
  t.ok(grown < GROWTH_BYTES, `${grown} bytes more are resident`);
  const left = await leftBehind(before);
  t.ok(left.descriptors <= 0 && left.mappings <= 0, JSON.stringify(left));
});

void t.test('no key of a lane that has ended opens a lane that came after it', async (t) => {
  let right = 0;
  const inbox = await openInbox({
    onMessage: (message) => {
      if (hasContent(message.bytes, message.sequence)) right++;
      message.done();
    },
  });
  const old: { address: number; rkey: number }[] = [];
  for (let i = 0; i < 150; i++) {
    const raw = await RawProducer.connect(inbox);
    old.push(raw.answer.memory);
    raw.close();
  }
  await until('all are fenced', () => inbox.laneCount === 0);
  const victim = await openOutbox(inbox, { name: 'victim' });
  const lane = linkOf(victim).connection!.lane.memory;
  for (const [index, { address, rkey }] of old.entries()) {
    t.not(rkey, lane.rkey);
    const raw = await RawProducer.connect(inbox);
    // Where the old lane was, and where the new one is.
    const at = index % 2 === 0 ? lane.address : address;
    t.equal(await raw.writeTo(at, rkey, new Uint8Array(64).fill(0xee)), CompletionStatus.REMOTE_ACCESS_ERROR);
    raw.close();
  }
  for (let i = 1; i <= 20; i++) await victim.send(content(i, 200));
  await victim.whenAcknowledged();
  t.equal(right, 20);
  t.equal(victim.counters.resent, 0);
  await victim.close();
  await inbox.close();
});
