// Proves: perftest's tables are read column by column, and whatever is no such table is an error that shows it.
import t from 'tap';
import { parsePerftest } from '../../../bench/peers/verbs/perftest-table.js';

const rule = '-'.repeat(87);
const latency = `${rule}
                    RDMA_Write Latency Test
 TX depth        : 1
 GID: 00:00:00:00:00:00:00:00:00:00:255:255:10:99:00:01
${rule}
 #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec] 
 64      1000          20.02          196.04       23.26    \t       25.95       \t12.60  \t\t96.28   \t\t196.04 
${rule}
`;
const bandwidth = `${rule}
 #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]
 65536      200              22.88              22.64  \t\t   0.000362
${rule}
`;

void t.test('a latency table', async (t) => {
  t.strictSame(parsePerftest(latency), [
    {
      kind: 'latency',
      sizeBytes: 64,
      iterations: 1000,
      min: 20.02,
      max: 196.04,
      typical: 23.26,
      avg: 25.95,
      stdev: 12.6,
      p99: 96.28,
      p999: 196.04,
    },
  ]);
});

void t.test('a latency table by duration has an average only', async (t) => {
  const [row] = parsePerftest(
    ' #bytes        #iterations       t_avg[usec]    tps average\n 64            1000          25.95          38535.64\n',
  );
  t.match(row, { kind: 'latency', avg: 25.95, typical: null, p99: null });
});

void t.test('a bandwidth table, of several sizes, and without a peak', async (t) => {
  t.match(parsePerftest(bandwidth), [
    { kind: 'bandwidth', sizeBytes: 65536, peakMbPerSecond: 22.88, averageMbPerSecond: 22.64, messagesPerSecond: 362 },
  ]);
  const more = bandwidth.replace(`${rule}\n`, '').replace('0.000362\n', '0.000362\n 4096 500 0.00 11.50 0.002944\n');
  t.match(parsePerftest(more)[1], { sizeBytes: 4096, peakMbPerSecond: null, averageMbPerSecond: 11.5 });
});

void t.test('garbage', async (t) => {
  const bad = {
    nothing: '',
    words: "Couldn't connect to 127.0.0.1:18515",
    'a row without a header': ' 64 1000 1 2 3 4 5 6 7\n',
    'a header without a row': ' #bytes #iterations    t_min[usec]\n',
    'a row with too few cells': latency.replace('20.02', ''),
    'a row with a word': latency.replace('20.02', 'nan'),
    'a column that nobody knows': latency.replace('t_min[usec]', 't_odd[usec]'),
    'control characters': '\u0000\u001b[2J'.repeat(1000),
  };
  for (const [name, text] of Object.entries(bad)) {
    t.throws(() => parsePerftest(text), { code: 'RDMA_ERR_PROTOCOL' }, name);
  }
  t.throws(() => parsePerftest("Couldn't connect"), /Couldn't connect/);
});
