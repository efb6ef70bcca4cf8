// Proves that options of a request are checked whole, each with its name in the error.
import t from 'tap';
import type { RequestOptions } from '../../src/ts/pipeline/index.js';
import { checkRequestOptions } from '../../src/ts/pipeline/request.js';

void t.test('what a caller leaves out has a default', async (t) => {
  t.match(checkRequestOptions(), { tenant: 'default', priority: 0, units: 1, retries: 0, views: false });
  t.equal(checkRequestOptions(), checkRequestOptions(), 'without options nothing is made');
  const cost = { class: 'video-480p', units: 12.5 };
  t.match(checkRequestOptions({ tenant: 'a b', priority: -100, cost, retries: 3 }), {
    tenant: 'a b',
    priority: -100,
    costClass: 'video-480p',
    units: 12.5,
    retries: 3,
  });
});

void t.test('a wrong option is refused by its name', async (t) => {
  const wrong: [string, unknown][] = [
    ['options', 5],
    ['timeoutMs', { timeoutMs: 0 }],
    ['timeoutMs', { timeoutMs: Number.NaN }],
    ['signal', { signal: {} }],
    ['views', { views: 1 }],
    ['trace', { trace: 'yes' }],
    ['tenant', { tenant: '' }],
    ['tenant', { tenant: 'x'.repeat(65) }],
    ['priority', { priority: 101 }],
    ['priority', { priority: 0.5 }],
    ['cost', { cost: 7 }],
    ['cost.class', { cost: { class: 'Video' } }],
    ['cost.class', { cost: {} }],
    ['cost.units', { cost: { class: 'video', units: 0 } }],
    ['cost.units', { cost: { class: 'video', units: Number.POSITIVE_INFINITY } }],
    ['retries', { retries: -1 }],
    ['retryToken', { retryToken: 5 }],
  ];
  for (const [name, options] of wrong) {
    t.throws(() => checkRequestOptions(options as RequestOptions), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
    t.throws(() => checkRequestOptions(options as RequestOptions), new RegExp(name));
  }
});
