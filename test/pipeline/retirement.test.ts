// Proves that a plan is let go of with its last request, whichever way that ends, while somebody waits for it.
import t from 'tap';
import { RdmaError, type StageTask, workflow } from '../../src/ts/pipeline/index.js';
import { codeOf, gate, Harness, until, within } from './support.js';

const here = { module: __filename };

interface Under {
  pipeline: Harness;
  /** Lets the tasks go on. */
  open: () => void;
  control: AbortController;
}

const ends: Record<string, { timeoutMs?: number; code: string; end: (under: Under) => void }> = {
  'its result': { code: 'ok', end: ({ open }) => open() },
  'an abort': { code: 'RDMA_ERR_ABORTED', end: ({ control }) => control.abort() },
  'its deadline': { code: 'RDMA_ERR_DEADLINE', timeoutMs: 300, end: () => {} },
  'a failure that somebody reports': {
    code: 'RDMA_ERR_STAGE_FAILED',
    end: ({ pipeline }) => {
      const request = { gateway: 0, gatewayRun: 1000, ticket: 1, attempt: 1 };
      pipeline.gateway.failRequest(request, new RdmaError('RDMA_ERR_STAGE_FAILED', 'its process ended too often'));
    },
  },
  'a place that is broken': {
    code: 'RDMA_ERR_STAGE_FAILED',
    end: ({ pipeline }) => {
      const reason = new RdmaError('RDMA_ERR_STAGE_FAILED', 'it cannot start');
      const availability = { state: 'broken', reason, retryInMs: 1000 } as const;
      for (const instance of [0, 7]) {
        pipeline.gateway.setAvailability({ stage: 0, instance }, availability);
        pipeline.gateway.abandon({ stage: 0, instance }, reason);
      }
    },
  },
};

for (const [name, { code, timeoutMs, end }] of Object.entries(ends)) {
  void t.test(`a plan waits for its last request, which ends by ${name}`, async (t) => {
    const hold = gate();
    let begun = 0;
    const handler = async (task: StageTask) => {
      begun++;
      await Promise.race([hold.opened, new Promise((resolve) => task.signal.addEventListener('abort', resolve))]);
      return {};
    };
    const pipeline = await Harness.open(workflow('retirement', here).stage('a', { handler }));
    t.teardown(() => pipeline.close());
    const control = new AbortController();
    const outcome = codeOf(
      pipeline.gateway.run({}, { signal: control.signal, ...(timeoutMs === undefined ? {} : { timeoutMs }) }),
    );
    await until('the task', () => begun === 1);
    await pipeline.prepare({ a: [7] });
    await pipeline.gateway.adopt(pipeline.plan);
    let isRetired = false;
    const retired = pipeline.gateway.retire(1).then(() => {
      isRetired = true;
    });
    if (timeoutMs === undefined) {
      await new Promise((resolve) => setImmediate(resolve));
      t.notOk(isRetired, 'its request is under way');
    }
    end({ pipeline, open: hold.open, control });
    t.equal(await within('the end', outcome), code);
    await within('the retirement', retired);
    t.equal(pipeline.gateway.inFlightUnder(1), 0);
    t.same(pipeline.gateway.status().plans, [2]);
  });
}
