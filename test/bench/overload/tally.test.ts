// Proves: what is late, refused or failed is counted as that, from the moment at which a request was due.
import t from 'tap';
import { type CallRecord, tally } from '../../../src/ts/bench/overload/tally.js';

const record = (change: Partial<CallRecord>): CallRecord => ({
  dueMs: 100,
  sentMs: 100,
  endedMs: 200,
  end: 'answered',
  tenant: undefined,
  isAgain: false,
  retryAfterMs: undefined,
  retryToken: undefined,
  predictedMs: undefined,
  words: undefined,
  ...change,
});

void t.test('a request counts in the window in which it was due, however late it ended', async (t) => {
  const records = [99, 100, 199, 200].map((dueMs) => record({ dueMs, sentMs: dueMs, endedMs: dueMs + 10 }));
  t.match(tally(records, 1000, 100, 200), { offered: 2, inTime: 2, late: 0, lateShare: 0 });
  t.match(tally([], 1000, 100, 200), { offered: 0, lateShare: 0, rejectMs: null, latencyMs: null, lagMs: 0 });
});

void t.test('a generator that was late makes an answer late', async (t) => {
  const late = record({ sentMs: 900, endedMs: 1150 });
  t.match(tally([late], 1000, 0, 1000), { offered: 1, inTime: 0, late: 1, lateShare: 1, lagMs: 800 });
  t.match(tally([record({ sentMs: 900, endedMs: 1100 })], 1000, 0, 1000), { inTime: 1, latencyMs: { p50: 1000 } });
});

void t.test('a refused request is not late; one that ended otherwise is', async (t) => {
  const records = [
    record({}),
    record({ end: 'refused', endedMs: 101 }),
    record({ end: 'refused', sentMs: 101, endedMs: 105 }),
    record({ end: 'deadline', endedMs: 1100 }),
    record({ end: 'failed', words: 'the roof is on fire' }),
    record({ end: 'failed', words: 'the second one' }),
  ];
  const seen = tally(records, 1000, 0, 1000);
  t.match(seen, { offered: 6, inTime: 1, refused: 2, late: 3, failed: 2, lateShare: 0.75 });
  t.strictSame(seen.rejectMs, { p50: 1, p99: 5 });
  t.equal(seen.firstFailure, 'the roof is on fire');
});

void t.test('a prediction is held against the time from the call', async (t) => {
  const records = [
    record({ sentMs: 150, predictedMs: 50 }),
    record({ predictedMs: 150 }),
    record({ predictedMs: 80 }),
    record({ end: 'deadline', predictedMs: 1 }),
  ];
  t.equal(tally(records, 1000, 0, 1000).predictionError, 0.2);
  t.equal(tally([record({})], 1000, 0, 1000).predictionError, null);
});
