// Proves that every completion status has words and a remedy, and that its error carries what the completion said.
import t from 'tap';
import { CompletionStatus } from '../../src/ts/addon/constants.js';
import { completionError, completionRemedy, completionStatusWords, RdmaError } from '../../src/ts/verbs/index.js';

void t.test('every completion status has words of its own and a remedy; an unknown one keeps its number', async (t) => {
  const all = Object.values(CompletionStatus);
  t.equal(new Set(all.map(completionStatusWords)).size, all.length);
  for (const status of all) {
    t.notMatch(completionStatusWords(status), /^completion status/);
    t.type(completionRemedy(status), 'string');
  }
  for (const none of [24, 999, -1]) {
    t.equal(completionStatusWords(none), `completion status ${none}`);
    t.equal(completionRemedy(none), undefined);
  }
});

void t.test('the error says what failed, where, and what is likely', async (t) => {
  const context = { qpNum: 17, vendorError: 0x81, operation: 'WRITE of 64 bytes' };
  const error = completionError(CompletionStatus.RETRY_EXCEEDED, context);
  t.ok(error instanceof RdmaError);
  t.match(error, { code: 'RDMA_ERR_COMPLETION', status: 12, qpNum: 17, vendorError: 0x81 });
  t.match(error.message, /WRITE of 64 bytes: retry exceeded: .*\(status 12 on queue pair 17, vendor error 0x81\)/);
  t.match(error.remedy, /died.*firewall.*4791.*path MTU/);
  t.match(completionError(5).message, /^RDMA_ERR_COMPLETION: flushed: .* \(status 5\)/);
});
