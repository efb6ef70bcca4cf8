// Proves who gets in with which token, and that neither errors nor inspection show one.
import { inspect } from 'node:util';
import t from 'tap';
import { Tokens } from '../../src/ts/serve/tokens.js';

const ALICE = 'alice-0123456789abcdef';
const BOB = 'bob-0123456789abcdef';

void t.test('a token is its tenant', async (t) => {
  const tokens = Tokens.parse(`# comment\n\nalice ${ALICE}\nalice second-0123456789abcdef\n bob\t${BOB} 10 \n`);
  t.strictSame(tokens.find(ALICE), { tenant: 'alice', maxPriority: 0, isOperator: false });
  t.strictSame(tokens.find('second-0123456789abcdef'), { tenant: 'alice', maxPriority: 0, isOperator: false });
  t.strictSame(tokens.authorize(`Bearer ${BOB}`), { tenant: 'bob', maxPriority: 10, isOperator: false });
  t.strictSame(tokens.authorize(`bearer  ${BOB}`), { tenant: 'bob', maxPriority: 10, isOperator: false });
  for (const line of [`ops ${ALICE} operator`, `ops ${ALICE} 0 operator`]) {
    t.strictSame(Tokens.parse(line).find(ALICE), { tenant: 'ops', maxPriority: 0, isOperator: true });
  }
  const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
  t.equal(tokens.authorize(basic(`any:${ALICE}`))?.tenant, 'alice');
  for (const wrong of [
    undefined,
    '',
    'Bearer',
    `Bearer ${ALICE}x`,
    ALICE,
    basic(ALICE),
    basic(`${ALICE}:`),
    `Digest ${ALICE}`,
  ]) {
    t.equal(tokens.authorize(wrong), undefined, String(wrong));
  }
});

void t.test('nothing shows a token', async (t) => {
  const tokens = Tokens.parse(`alice ${ALICE}`);
  t.notMatch(inspect(tokens, { depth: 9, showHidden: true }), /0123456789/);
  t.notMatch(JSON.stringify(tokens), /0123456789/);
});

void t.test('a wrong file is refused by the number of its line, without what it says', async (t) => {
  const cases: [string, RegExp][] = [
    ['', /there is no token/],
    ['# only\n', /there is no token/],
    [`ok ${ALICE}\nonlytenant`, /line 2 of the tokens is malformed/],
    ['a short', /line 1 .* fewer than 16/],
    [`a ${'x'.repeat(513)}`, /cannot be sent/],
    [`a ${ALICE}\u00e9`, /cannot be sent/],
    [`a ${ALICE}\nb ${ALICE}`, /line 2 .* was there before/],
    [`a ${ALICE} 101`, /priority/],
    [`a/b ${ALICE}`, /malformed/],
    [`a ${ALICE} 1 root`, /malformed/],
    [`a ${ALICE} operator 1`, /malformed/],
  ];
  for (const [text, message] of cases) {
    const error = t.throws(() => Tokens.parse(text), { code: 'RDMA_ERR_INVALID_ARGUMENT', message }) as Error;
    t.notMatch(inspect(error), /0123456789/);
  }
  t.throws(() => Tokens.read('/nowhere/at/all'), { code: 'RDMA_ERR_INVALID_ARGUMENT', message: /ENOENT/ });
});
