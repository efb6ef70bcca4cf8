// The messages that an outbox and an inbox exchange over the bootstrap channel before the first ring message.
//
// Invariant: every number has bounds, so that nothing a peer offers can make this side allocate without limit.
//
//   outbox -> inbox   offer   who I am, my queue pair, my control block, what I hold, the lane I would like
//   inbox -> outbox   answer  your lane: its queue pair, memory and key, its sizes, what was delivered already
//   outbox -> inbox   ready   my queue pair is connected; control blocks may be written
//   either            error   why not; the channel is closed after it
import * as v from 'valibot';

export const RING_PROTOCOL = 5;
export const MAX_SLOTS = 4095;
export const MAX_DATA_BYTES = 2 ** 31 - 64;
/** The longest message that can lie behind its descriptor. */
export const MAX_INLINE_BYTES = 960;
export const MAX_RETAINED_MESSAGES = 65536;
/** The most bytes of a message that is pulled: what one Uint8Array can show. */
export const MAX_PULL_BYTES = 2 ** 32 - 1;

const u32 = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffffffff));
const address = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(Number.MAX_SAFE_INTEGER));
const sequence = address;
const identity = v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/));

const inlineBytes = v.pipe(u32, v.maxValue(MAX_INLINE_BYTES), v.multipleOf(64));

const endpoint = v.strictObject({
  qpNum: v.pipe(u32, v.maxValue(0xffffff)),
  psn: v.pipe(u32, v.maxValue(0xffffff)),
  gid: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)),
  lid: v.pipe(u32, v.maxValue(0xffff)),
  mtu: v.pipe(u32, v.minValue(1), v.maxValue(5)),
});

export const Offer = v.strictObject({
  type: v.literal('offer'),
  protocol: v.literal(RING_PROTOCOL),
  transport: v.pipe(v.string(), v.maxLength(32)),
  producer: identity,
  /** The inbox of its connection before this one; empty for the first. */
  inbox: v.union([identity, v.literal('')]),
  name: v.pipe(v.string(), v.maxLength(128)),
  slots: v.pipe(u32, v.minValue(1), v.maxValue(MAX_SLOTS)),
  dataBytes: v.pipe(u32, v.minValue(64), v.maxValue(MAX_DATA_BYTES)),
  /** Messages up to this length should lie behind their descriptors. */
  inlineBytes,
  retainMessages: v.pipe(u32, v.minValue(1), v.maxValue(MAX_RETAINED_MESSAGES)),
  acknowledged: sequence,
  /** The lane should be mapped, where memory is shared. */
  inPlace: v.boolean(),
  control: v.strictObject({ address, rkey: u32 }),
  endpoint,
});
export type Offer = v.InferOutput<typeof Offer>;

export const Answer = v.strictObject({
  type: v.literal('answer'),
  inbox: identity,
  lane: v.pipe(u32, v.maxValue(0xfffff)),
  epoch: u32,
  slots: v.pipe(u32, v.minValue(1), v.maxValue(MAX_SLOTS)),
  dataBytes: v.pipe(u32, v.minValue(64), v.maxValue(MAX_DATA_BYTES), v.multipleOf(64)),
  memory: v.strictObject({ address, rkey: u32 }),
  // The lane may be mapped.
  inPlace: v.boolean(),
  // Room for a message behind each descriptor; 0 where the lane is mapped and not polled.
  inlineBytes,
  // The inbox looks at the descriptors itself, in a loop, and nothing announces them; but where the lane is not mapped,
  // an immediate says how many messages have arrived whose bytes are in the data ring.
  polled: v.boolean(),
  // The largest message that the inbox pulls; 0: none.
  maxPullBytes: v.pipe(u32, v.maxValue(MAX_PULL_BYTES)),
  delivered: sequence,
  acknowledged: sequence,
  endpoint,
});
export type Answer = v.InferOutput<typeof Answer>;

export const Refusal = v.strictObject({
  type: v.literal('error'),
  code: v.pipe(v.string(), v.maxLength(64)),
  message: v.pipe(v.string(), v.maxLength(1024)),
});

export const Ready = v.strictObject({ type: v.literal('ready') });

/** What an outbox may get back. */
export const Reply = v.variant('type', [Answer, Refusal]);
