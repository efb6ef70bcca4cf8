// Proves: a message that is stale, or torn by a single word, or short is found out, wherever it lies in memory.
import t from 'tap';
import {
  checkEnds,
  checkSum,
  patternOf,
  readMessage,
  roundOf,
  writeMessage,
} from '../../../src/ts/bench/kit/payload.js';

const protocol = { code: 'RDMA_ERR_PROTOCOL' };

function sumOf(bytes: Uint8Array): number {
  return readMessage(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, bytes.byteLength);
}

for (const length of [1, 7, 8, 63, 64, 65, 4096, 100_003, 2 ** 20]) {
  void t.test(`a message of ${length} bytes is read whole, at any alignment`, async (t) => {
    for (const shift of [0, 1, 5]) {
      const bytes = new Uint8Array(length + shift).subarray(shift);
      for (const round of [0, 1, 62, 63, 64]) {
        writeMessage(bytes, round);
        checkSum(sumOf(bytes), length, round);
        t.throws(() => checkSum(sumOf(bytes), length, round + 1), protocol);
      }
      for (const torn of [0, (length >> 4) * 8, Math.max(0, length - 8)]) {
        for (const other of [1, -1]) {
          writeMessage(bytes, 20);
          bytes.fill(patternOf(20 + other), torn, torn + 8);
          t.throws(() => checkSum(sumOf(bytes), length, 20), protocol, `the word at ${torn}`);
        }
      }
    }
  });
}

void t.test('a word of the round before, or one that is missing, is found in a message of 16 MiB', async (t) => {
  const bytes = new Uint8Array(2 ** 24);
  writeMessage(bytes, 7);
  const sum = sumOf(bytes);
  checkSum(sum, bytes.length, 7);
  t.throws(() => checkSum(sum, bytes.length + 8, 7), protocol);
  t.throws(() => checkSum(sum, bytes.length - 8, 7), protocol);
  bytes.fill(patternOf(6), 4096, 4104);
  t.throws(() => checkSum(sumOf(bytes), bytes.length, 7), protocol);
});

void t.test('the ends alone tell one round from its neighbours', async (t) => {
  const byte = patternOf(5);
  t.equal(roundOf(byte), 5);
  checkEnds(byte, byte, 100, 5);
  checkEnds(byte, byte, 100, 5 + 64);
  t.throws(() => checkEnds(byte, byte, 100, 6), protocol);
  t.throws(() => checkEnds(byte, 0, 100, 5), protocol);
  t.throws(() => checkEnds(0, byte, 100, 5), protocol);
});
