// Proves that random deaths of Python processes cost no request: none is lost, answered twice or wrong. More of it:
// `npm run chaos:python`.
import t from 'tap';
import { tensor } from '../../../src/ts/pipeline/index.js';
import { planNumbers, planPythonBlow, runPythonChaos, whatIsWrongWith } from './chaos.js';

const seed = 1 + (Math.floor(Date.now() / 1000) % 1_000_000_000);
t.comment(`seed ${seed}`);

void t.test('the seed chooses every blow, and the check finds what it looks for', async (t) => {
  t.same(planPythonBlow(7, 3), planPythonBlow(7, 3));
  const faults = new Set(Array.from({ length: 100 }, (_, n) => planPythonBlow(5, n).fault));
  t.same([...faults].sort(), ['kill', 'kill keeper', 'stop', 'stop for good']);
  t.ok(Array.from({ length: 20 }, (_, n) => planNumbers(5, n)).some(({ byteLength }) => byteLength > 2 ** 20));
  const sent = Float32Array.of(1, 2, 3);
  const answer = (n: number, ...numbers: number[]) => ({
    outputs: [
      {
        stage: 'increment',
        instance: 0,
        meta: { n },
        parts: { x: tensor('f32', [numbers.length], Float32Array.from(numbers)) },
      },
    ],
  });
  t.equal(whatIsWrongWith(sent, 4, answer(4, 3, 5, 7)), undefined);
  t.match(whatIsWrongWith(sent, 4, answer(5, 3, 5, 7)), /request 5/);
  t.match(whatIsWrongWith(sent, 4, answer(4, 3, 5)), /2 numbers of 3/);
  t.match(whatIsWrongWith(sent, 4, answer(4, 3, 5, 8)), /number 2 is 8/);
  t.match(whatIsWrongWith(sent, 4, { outputs: [] }), /0 outputs/);
});

void t.test('Python processes and their keepers are killed and stopped: no request is lost', async (t) => {
  const summary = await runPythonChaos({
    seed,
    kills: 25,
    clients: 8,
    onProgress: (ended, blows) => {
      if (blows % 5 === 0) t.comment(`${ended} requests, ${blows} blows`);
    },
  });
  t.comment(JSON.stringify(summary));
  t.match(summary, { lost: 0, twice: 0, wrong: 0, hung: 0 });
  t.ok(summary.requests > 25, `${summary.requests} requests`);
  t.ok(summary.pythonRestarts + summary.stageRestarts >= 3, 'processes were replaced');
});
