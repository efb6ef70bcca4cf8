// Proves that numbers of devices and ports become the names of verbs, and that what has no name keeps its number.
import t from 'tap';
import * as words from '../../src/ts/verbs/words.js';

void t.test('capabilities are named bit by bit', async (t) => {
  t.same(words.capabilityNames(0n), []);
  t.same(words.capabilityNames((1n << 34n) | (1n << 17n) | 1n), ['RESIZE_MAX_WR', 'MEM_WINDOW', 'RAW_SCATTER_FCS']);
  t.same(words.capabilityNames(1n << 60n), ['bit 60']);
  t.same(words.odpCapabilityNames(3), ['SUPPORT', 'IMPLICIT']);
  t.same(words.odpOperationNames(0b101001), ['SEND', 'READ', 'SRQ_RECV']);
});

void t.test('states and layers are named', async (t) => {
  t.equal(words.portStateWords(4), 'active');
  t.equal(words.physicalStateWords(5), 'link up');
  t.equal(words.linkLayerWords(1), 'InfiniBand');
  t.equal(words.atomicWords(0), 'none');
  t.same([words.portStateWords(9), words.physicalStateWords(9)], ['state 9', 'physical state 9']);
});

void t.test('the rate of a link is width times speed, in Gbit/s', async (t) => {
  t.equal(words.linkRateGbps(2, 32), 100, '4x EDR');
  t.equal(words.linkRateGbps(2, 128), 400, '4x NDR');
  t.equal(words.linkRateGbps(1, 1), 2.5, '1x SDR');
  t.equal(words.linkRateGbps(16, 64), 100, '2x HDR');
  t.equal(words.linkRateGbps(0, 0), undefined);
});
