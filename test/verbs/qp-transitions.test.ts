// Proves that the table of transitions names exactly what is missing and what is one too many, by the names of
// modify().
import t from 'tap';
import { QpAttributeMask as Mask, QpState, QpType } from '../../src/ts/addon/constants.js';
import {
  explainTransition,
  qpAttributeNames,
  transitionOf,
  transitionWords,
} from '../../src/ts/verbs/qp-transitions.js';

const { RESET, INIT, READY_TO_RECEIVE, READY_TO_SEND, SEND_QUEUE_ERROR, ERROR } = QpState;

void t.test('a set with one left out, and with one too many, is explained by exactly that one', async (t) => {
  for (const [typeName, type] of Object.entries(QpType)) {
    for (const from of Object.values(QpState)) {
      for (const to of Object.values(QpState)) {
        const transition = transitionOf(type, from, to);
        if (transition === undefined) continue;
        const { required, optional } = transition;
        const way = `${typeName} ${from} to ${to}`;
        const whole = required | Mask.STATE;
        const right = { exists: true, missing: [], forbidden: [] };
        t.same(explainTransition(type, from, to, whole), right, way);
        t.same(explainTransition(type, from, to, whole | optional), right, `${way} with all that may come along`);
        for (const bit of Object.values(Mask)) {
          const [name] = qpAttributeNames(bit);
          if ((required & bit) !== 0) {
            t.same(explainTransition(type, from, to, whole & ~bit), { ...right, missing: [name] }, `${way} -${name}`);
          } else if ((optional & bit) === 0 && bit !== Mask.STATE) {
            t.same(explainTransition(type, from, to, whole | bit), { ...right, forbidden: [name] }, `${way} +${name}`);
          }
        }
      }
    }
  }
});

void t.test('each attribute has the name that modify() knows it by', async (t) => {
  const all = Object.values(Mask).reduce((a, b) => a | b);
  const names = qpAttributeNames(all);
  t.equal(names.length, Object.keys(Mask).length);
  t.notMatch(names.join(' '), /bit 0x/);
  t.same(qpAttributeNames(1 << 30), ['bit 0x40000000']);
  t.same(qpAttributeNames(0x80000000), ['bit 0x80000000']);
});

void t.test('ways that do not exist are said to be none, with those that do', async (t) => {
  const none = { exists: false, missing: [], forbidden: [] };
  t.same(explainTransition(QpType.RC, RESET, READY_TO_SEND, Mask.STATE), none);
  t.same(explainTransition(QpType.RC, RESET, ERROR, Mask.STATE), none);
  t.same(explainTransition(QpType.RC, SEND_QUEUE_ERROR, READY_TO_SEND, Mask.STATE), none, 'RC has no such error');
  t.same(explainTransition(QpType.UD, SEND_QUEUE_ERROR, READY_TO_SEND, Mask.STATE).exists, true);
  t.same(explainTransition(QpType.RC, 77, RESET, Mask.STATE), none, 'no such state');
  t.same(explainTransition(99, RESET, INIT, Mask.STATE), none, 'no such type');
  t.equal(
    transitionWords(QpType.RC, RESET, READY_TO_SEND, Mask.STATE),
    'RC queue pair, RESET to READY_TO_SEND: no such transition; from RESET it goes to RESET, INIT',
  );
});

void t.test('the words name what is missing and forbidden, and say so when it can only be a value', async (t) => {
  const lacking = Mask.STATE | Mask.ADDRESS_VECTOR | Mask.PATH_MTU | Mask.DEST_QP_NUM | Mask.SQ_PSN;
  t.equal(
    transitionWords(QpType.UC, INIT, READY_TO_RECEIVE, lacking),
    'UC queue pair, INIT to READY_TO_RECEIVE: missing: rqPsn; forbidden: sqPsn',
  );
  t.match(
    transitionWords(QpType.UD, READY_TO_RECEIVE, READY_TO_SEND, Mask.STATE | Mask.SQ_PSN),
    /the right attributes \(sqPsn\), so a value among them/,
  );
});
